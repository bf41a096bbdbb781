use tenant_auth::ApiKeySecret;

fn log(secret: ApiKeySecret) -> String {
    format!("issued {secret}")
}

fn main() {}
