//! Who takes part in the tour, with freshly minted credentials: good ones and forgeries.

use std::time::Duration;

use tenant_auth::{ApiKeySecret, ApiKeys, NewApiKey, NewToken, TokenMinter};
use tenant_context::{BoxError, Clock, Principal, PrincipalId, SystemClock, TenantId};

use crate::stack::{AUDIENCE, ISSUER};

/// How long the good tokens live: long enough to play with them after the tour.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);

/// The credentials of everybody in the tour.
pub(crate) struct Cast {
    /// A person at acme.
    pub(crate) ada: String,
    /// An agent that acts for Ada.
    pub(crate) bot: String,
    /// A person at globex.
    pub(crate) grace: String,
    /// A person at initech, which is suspended.
    pub(crate) ivan: String,
    /// A service of acme.
    pub(crate) robot: ApiKeySecret,
    /// What must not be let in, by what is wrong with it.
    pub(super) forged: Vec<(&'static str, String)>,
}

impl Cast {
    pub(crate) async fn mint(minter: &TokenMinter, api_keys: &ApiKeys) -> Result<Self, BoxError> {
        let clock = SystemClock::new();
        let of = |tenant: &str, subject: &str| {
            NewToken::new(ISSUER, AUDIENCE, tenant, subject).expires_in(LIFETIME)
        };
        let mint = |token: &NewToken| minter.mint(token, &clock);

        let robot = Principal::service(PrincipalId::parse("robot")?);
        let robot = NewApiKey::new(TenantId::parse("acme")?, robot);
        let (robot, _id) = api_keys.issue(robot).await?;

        // Another key under the same name; a good token whose head is exchanged, without a signature.
        let impostor = TokenMinter::eddsa_generate("quickstart")?;
        let unsigned = mint(&of("acme", "ada"))?;
        let claims = unsigned.split('.').nth(1).unwrap_or_default();
        let none = minter.mint_raw(r#"{"alg":"none","typ":"at+jwt"}"#, "")?;
        let head = none.split('.').next().unwrap_or_default();
        let past = clock
            .unix()
            .saturating_sub(Duration::from_secs(3600))
            .as_secs();
        let elsewhere = NewToken::new(ISSUER, "another-api", "acme", "ada").expires_in(LIFETIME);
        Ok(Self {
            ada: mint(&of("acme", "ada"))?,
            bot: mint(&of("acme", "ada").agent("ledger-bot"))?,
            grace: mint(&of("globex", "grace"))?,
            ivan: mint(&of("initech", "ivan"))?,
            robot,
            forged: vec![
                (
                    "token with a wrong signature",
                    impostor.mint(&of("acme", "ada"), &clock)?,
                ),
                ("token with alg: none", format!("{head}.{claims}.")),
                (
                    "token that has expired",
                    mint(&of("acme", "ada").claim("exp", past))?,
                ),
                ("token for another audience", mint(&elsewhere)?),
                (
                    "token of a tenant nobody knows",
                    mint(&of("umbrella", "ada"))?,
                ),
            ],
        })
    }

    /// All secrets of the tour: none of them may be found in the audit log.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let good = [&self.ada, &self.bot, &self.grace, &self.ivan].map(String::as_str);
        let forged = self.forged.iter().map(|(_, token)| token.as_str());
        good.into_iter().chain(forged).chain([self.robot.expose()])
    }
}
