use tenant_auth::{AuthLayerBuilder, Issuer};

fn accept(layer: AuthLayerBuilder) -> AuthLayerBuilder {
    layer.jwt(Issuer::new("https://id.example.com"))
}

fn main() {}
