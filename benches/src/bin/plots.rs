//! Writes the plots to `benches/plots`, as a whole run of the report does.

fn main() -> tenant_benches::Result<()> {
    tenant_benches::plots::write()
}
