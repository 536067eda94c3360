//! TLS to PostgreSQL with libpq's meanings of `sslmode` (facts: libraries.md §6).

use native_tls::{Certificate, TlsConnector};

use crate::config::{SslMode, Target};
use crate::{Error, Kind, Result};

/// The connector for this `sslmode`. `require` with a root certificate means `verify-ca`, as in libpq.
pub fn connector(database: &Target) -> Result<postgres_native_tls::MakeTlsConnector> {
    let mode = match (database.sslmode, &database.sslrootcert) {
        (SslMode::Require, Some(_)) => SslMode::VerifyCa,
        (mode, _) => mode,
    };
    let mut builder = TlsConnector::builder();
    if let Some(file) = &database.sslrootcert {
        let wrong = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Config, format!("database.sslrootcert: {} holds no usable certificate", file.display()))
                .because(cause)
                .hint("give a PEM file with the CA's certificates")
        };
        let pem = std::fs::read(file).map_err(|error| wrong(error.into()))?;
        let roots = Certificate::stack_from_pem(&pem).map_err(|error| wrong(error.into()))?;
        if roots.is_empty() {
            return Err(wrong("no certificate found".into()));
        }
        // Otherwise every public CA would be trusted beside the given one.
        builder.disable_built_in_roots(true);
        for root in roots {
            builder.add_root_certificate(root);
        }
    }
    match mode {
        SslMode::VerifyFull => {}
        SslMode::VerifyCa => {
            builder.danger_accept_invalid_hostnames(true);
        }
        SslMode::Disable | SslMode::Prefer | SslMode::Require => {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
    }
    let connector = builder
        .build()
        .map_err(|error| Error::new(Kind::Config, "TLS to PostgreSQL cannot be set up").because(error))?;
    Ok(postgres_native_tls::MakeTlsConnector::new(connector))
}
