//! A limit for floods, before anybody knows whose requests they are.

use std::{fmt, sync::Arc};

use http::{Request, Response};
use tenant_context::{ClientAddress, Clock, ConfigError, Monotonic, SystemClock, Trail};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Decision, Denied, Dimension, LimitedBody, Quota, ResponseFuture,
    cells::{Level, Rate},
    charge::{Ask, CrossLanes, Failed, Lane, Lanes, Source, Terms, charge},
    counts::Tally,
    key::Key,
    keys::{Keys, Kind, Places, Slot},
    partition::Part,
    sync::Mutex,
};

/// A limit on the requests of each client address, for the outermost place: floods then fill no queue and
/// cost no signature.
///
/// An address is what [`ClientAddress`] says: an IPv4 address, or an IPv6 /64. Behind a proxy stands the
/// [`ClientAddressLayer`](tenant_context::ClientAddressLayer) outside of it: without one the connection's peer
/// counts, and an address that a client wrote counts for nothing. Requests whose address is not known share one
/// budget.
///
/// Addresses are bounded in number, and only those whose budget is whole are forgotten. Beyond the bound all further
/// ones share a few budgets: a flood from made-up addresses gains nothing, and those that are known go on.
///
/// ```
/// use tenant_ratelimit::Quota;
/// use tower_layer::Layer;
///
/// let flood = tenant_ratelimit::flood(Quota::per_second(100).burst(500)).build()?;
/// let app = flood.layer(axum::Router::<()>::new());
/// # Ok::<(), tenant_ratelimit::ConfigError>(())
/// ```
pub fn flood(quota: Quota) -> FloodLayerBuilder {
    FloodLayerBuilder {
        quota,
        max_addresses: 100_000,
        clock: Arc::new(SystemClock::new()),
    }
}

/// Builds a [`FloodLayer`].
#[must_use = "a builder does nothing until `build`"]
#[derive(Debug)]
pub struct FloodLayerBuilder {
    quota: Quota,
    max_addresses: usize,
    clock: Arc<dyn Clock>,
}

impl FloodLayerBuilder {
    /// The most addresses that have a budget of their own. Default 100,000, at about 70 bytes each.
    pub fn max_addresses(mut self, max: usize) -> Self {
        self.max_addresses = max;
        self
    }

    /// The clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the quota is none ([`Quota::check`]), or the bound is below 16.
    pub fn build(self) -> Result<FloodLayer, ConfigError> {
        let wrong = |says: String| ConfigError::new(format!("flood: {says}"));
        if self.max_addresses < SHARDS {
            return Err(wrong(format!(
                "`max_addresses` is {}; set it to the number you expect, at least {SHARDS}, or leave it at its default",
                self.max_addresses
            )));
        }
        let rate = Rate::new(self.quota).map_err(|error| wrong(error.to_string()))?;
        Ok(FloodLayer(Arc::new(Addresses {
            rate,
            clock: self.clock,
            places: Places::new(self.max_addresses),
            tally: Tally::new([Dimension::Address]),
            terms: Terms {
                dimension: Dimension::Address,
                most: None,
                shadow: false,
            },
            share: self.max_addresses.div_ceil(SHARDS),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        })))
    }
}

const SHARDS: usize = 16;

/// The cells of all addresses.
struct Addresses {
    rate: Rate,
    clock: Arc<dyn Clock>,
    places: Places,
    share: usize,
    terms: Terms,
    tally: Tally,
    shards: Box<[Shard]>,
}

#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Cells>);

#[derive(Default)]
struct Cells {
    keys: Keys,
    /// Shared by all addresses beyond the bound.
    overflow: Level,
}

/// Limits floods. See [`flood`].
///
/// Clones spend the same budgets.
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct FloodLayer(Arc<Addresses>);

impl FloodLayer {
    /// Charges one request of this client, for servers that are no tower service.
    ///
    /// # Errors
    ///
    /// [`Denied`], with the true wait.
    pub fn check(&self, client: ClientAddress) -> Result<Decision, Denied> {
        self.0.check(client)
    }

    /// How many addresses have a budget of their own.
    pub fn addresses(&self) -> usize {
        self.0.places.taken()
    }
}

impl Addresses {
    fn check(&self, client: ClientAddress) -> Result<Decision, Denied> {
        let key = Key::hashed(b"address", client.key());
        let shard = usize::try_from(key.hash() >> 32).unwrap_or(0);
        let shard = shard.checked_rem(SHARDS).and_then(|at| self.shards.get(at));
        let Some(shard) = shard else {
            return Err(Denied::misconfigured("flood_shards"));
        };
        let now = self.clock.monotonic();
        let mut cells = shard.0.lock();
        let place = cells.place(key, self, now);
        let level = place.and_then(|place| cells.keys.at(place, key));
        let level = level.map_or(&cells.overflow, |slot| &slot.level);
        let ask = Ask {
            cost: 1,
            peeks: false,
            enters: false,
            now,
        };
        let mut own = Lanes::new();
        own.push(Lane::new(
            Source::Keyed(0),
            &self.terms,
            Some(&self.rate),
            level,
        ));
        let mut none = CrossLanes::new();
        match charge(&mut own, &mut none, ask, || now) {
            Ok(least) => {
                self.tally.admit();
                Ok(least.bound(&own, &none, now).into())
            }
            Err(Failed::Refused(mut refusals)) => {
                self.tally.refuse(Dimension::Address, None);
                for refusal in &mut refusals {
                    refusal.part = Some(Part::Key(key));
                }
                Err(Denied::refused(refusals, None))
            }
            Err(Failed::Moved) => Err(Denied::misconfigured("flood_moved")),
        }
    }
}

impl Cells {
    fn place(&mut self, key: Key, addresses: &Addresses, now: Monotonic) -> Option<u32> {
        if let Some(known) = self.keys.find(key) {
            return Some(known);
        }
        let idle = |slot: &Slot| slot.level.is_idle(Some(&addresses.rate), now);
        // Whoever leaves the overflow cell takes along what it owes.
        let level = self.overflow.split(Kind::default());
        let new = Slot { key, level };
        let made = self
            .keys
            .place(new, addresses.share, &addresses.places, idle);
        made.map(|made| made.at)
    }
}

impl<S> Layer<S> for FloodLayer {
    type Service = Flood<S>;

    fn layer(&self, inner: S) -> Flood<S> {
        Flood {
            inner,
            addresses: Arc::clone(&self.0),
        }
    }
}

impl fmt::Debug for FloodLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FloodLayer")
            .field("quota", &self.0.rate.quota)
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

/// Charges a request to its client's address, then calls the inner service; or refuses. See [`flood`].
#[derive(Clone)]
pub struct Flood<S> {
    inner: S,
    addresses: Arc<Addresses>,
}

impl<S: fmt::Debug> fmt::Debug for Flood<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flood")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Flood<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<LimitedBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let client = ClientAddress::of(request.extensions());
        match self.addresses.check(client) {
            Ok(_) => ResponseFuture::calling(self.inner.call(request), None),
            Err(denied) => {
                // What the inner service reserved for this request goes back: a clone has reserved nothing.
                self.inner = self.inner.clone();
                let rejection = Trail::of(request.extensions()).deny(denied.rejection());
                ResponseFuture::refused(rejection.respond_to(request))
            }
        }
    }
}
