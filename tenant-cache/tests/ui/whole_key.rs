use tenant_cache::Namespace;

fn read(invoices: &Namespace<u64>) {
    let _ = invoices.get("acme:invoice:17");
}

fn main() {}
