//! TLS to PostgreSQL, as far as `sslmode` goes.

use std::path::Path;

use native_tls::{Certificate, Protocol, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::config::SslNegotiation;

use super::identity::identity;
use crate::config::{Load, SslMode, Target, TlsVersion};
use crate::{Error, Kind, Result};

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    /// Nothing: who can stand in between can read along.
    Nothing,
    /// That a trusted authority has signed it.
    Authority,
    /// And that it is made out to the host.
    Name,
}

/// libpq's rule: a given authority is always asked, so `require` with one is `verify-ca`; `prefer` keeps that too, as a
/// file that is named and never looked at would be a trap.
fn verify(mode: SslMode, authority: bool) -> Verify {
    match mode {
        SslMode::VerifyFull => Verify::Name,
        SslMode::VerifyCa => Verify::Authority,
        SslMode::Allow | SslMode::Prefer | SslMode::Require if authority => Verify::Authority,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => Verify::Nothing,
    }
}

/// The connector for one connection; reads `sslrootcert` each time, since certificates are renewed in place.
pub(super) fn connector(target: &Target) -> Result<MakeTlsConnector> {
    let authority = target.sslrootcert.as_deref().filter(|_| target.sslmode != SslMode::Disable);
    let verify = verify(target.sslmode, authority.is_some());
    let mut builder = TlsConnector::builder();
    builder
        .danger_accept_invalid_certs(verify == Verify::Nothing)
        .danger_accept_invalid_hostnames(verify != Verify::Name)
        .use_sni(target.sni);
    let (least, most) = target.versions;
    if let Some(least) = least {
        builder.min_protocol_version(Some(protocol(least)));
    }
    builder.max_protocol_version(most.map(protocol));
    if verify == Verify::Nothing {
        builder.disable_built_in_roots(true);
    }
    if let Some(path) = authority {
        // The machine's own authorities would otherwise be trusted beside it.
        builder.disable_built_in_roots(true);
        let most = match target.sslrootcert_load {
            Load::All => usize::MAX,
            Load::First => 1,
        };
        for certificate in authorities(path)?.into_iter().take(most) {
            builder.add_root_certificate(certificate);
        }
    }
    if target.sslmode != SslMode::Disable
        && let Some(identity) = identity(&target.client_certificate)?
    {
        builder.identity(identity);
    }
    if target.settings.get_ssl_negotiation() == SslNegotiation::Direct {
        postgres_native_tls::set_postgresql_alpn(&mut builder);
    }
    let connector = builder.build().map_err(|error| {
        Error::new(Kind::Refused, "1023: TLS cannot be set up")
            .because(error)
            .hint("check database.sslrootcert and the machine's OpenSSL")
    })?;
    Ok(MakeTlsConnector::new(connector))
}

fn protocol(version: TlsVersion) -> Protocol {
    match version {
        TlsVersion::V1_0 => Protocol::Tlsv10,
        TlsVersion::V1_1 => Protocol::Tlsv11,
        TlsVersion::V1_2 => Protocol::Tlsv12,
        TlsVersion::V1_3 => Protocol::Tlsv13,
    }
}

/// Every certificate of a PEM file: a bundle with old and new authorities is usual while one is replaced.
fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let wrong = |what: &str| {
        Error::new(Kind::Refused, format!("1023: database.sslrootcert {}: {what}", path.display()))
            .hint("name a PEM file with the authorities to trust, or `system` for the machine's own")
    };
    let pem = std::fs::read(path).map_err(|error| wrong("the file cannot be read").because(error))?;
    let certificates = match Certificate::from_der(&pem) {
        Ok(one) => vec![one],
        Err(_) => Certificate::stack_from_pem(&pem).map_err(|error| wrong("the file is not PEM").because(error))?,
    };
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in the file"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_verify_what_libpq_verifies() {
        use SslMode::*;
        for (mode, authority, expected) in [
            (Disable, true, Verify::Nothing),
            (Allow, false, Verify::Nothing),
            (Prefer, false, Verify::Nothing),
            (Prefer, true, Verify::Authority),
            (Require, false, Verify::Nothing),
            (Require, true, Verify::Authority),
            (VerifyCa, false, Verify::Authority),
            (VerifyFull, false, Verify::Name),
            (VerifyFull, true, Verify::Name),
        ] {
            assert_eq!(verify(mode, authority), expected, "{mode:?} {authority}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(file.path(), content).unwrap();
            let error = authorities(file.path()).err().unwrap();
            assert_eq!(error.kind(), Kind::Refused);
            assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
        }
        assert!(authorities(Path::new("/nowhere/ca.pem")).is_err());
    }
}
