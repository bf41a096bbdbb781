use tenant_auth::{AuthLayerBuilder, Issuer, VerifyingKey};

fn accept(layer: AuthLayerBuilder, key: VerifyingKey) -> AuthLayerBuilder {
    layer.jwt(Issuer::new("https://id.example.com").key(key))
}

fn main() {}
