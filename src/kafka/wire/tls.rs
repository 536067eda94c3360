//! TLS to the brokers, by librdkafka's properties: readers and producer take the same ones.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;

use crate::config::Kafka;
use crate::{Error, Kind, Result};

/// What a connection needs; made anew for each, as certificates and keys are renewed in place.
pub struct Tls {
    connector: SslConnector,
    /// Whether the certificate must be made out to the host.
    names: bool,
}

impl Tls {
    /// As `[kafka]` says.
    pub fn of(kafka: &Kafka) -> Result<Tls> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(unusable("TLS"))?;
        authorities(kafka, &mut builder)?;
        own(kafka, &mut builder)?;
        if let Some(ciphers) = kafka.property("ssl.cipher.suites") {
            builder.set_cipher_list(ciphers).map_err(unusable("ssl.cipher.suites"))?;
        }
        if let Some(curves) = kafka.property("ssl.curves.list") {
            builder.set_groups_list(curves).map_err(unusable("ssl.curves.list"))?;
        }
        if let Some(algorithms) = kafka.property("ssl.sigalgs.list") {
            builder.set_sigalgs_list(algorithms).map_err(unusable("ssl.sigalgs.list"))?;
        }
        let said = |name: &str| kafka.property(name).unwrap_or_default().to_ascii_lowercase();
        let verify = !matches!(said("enable.ssl.certificate.verification").as_str(), "false" | "f" | "0");
        builder.set_verify(if verify { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
        let names = verify && said("ssl.endpoint.identification.algorithm") != "none";
        Ok(Tls { connector: builder.build(), names })
    }

    /// For a connection to this host.
    pub fn to(&self, host: &str) -> Result<Ssl> {
        let mut configuration = self.connector.configure().map_err(unusable("TLS"))?;
        configuration.set_verify_hostname(self.names);
        configuration.into_ssl(host).map_err(unusable("TLS"))
    }
}

/// Who may vouch for the brokers: those that are named and nobody else, or the machine's own.
fn authorities(kafka: &Kafka, builder: &mut SslConnectorBuilder) -> Result<()> {
    let location = kafka.property("ssl.ca.location").filter(|path| *path != "probe");
    if location.is_some() || kafka.property("ssl.ca.pem").is_some() {
        // The builder comes with the machine's.
        let nobody = X509StoreBuilder::new().map_err(unusable("TLS"))?.build();
        builder.set_cert_store(nobody);
    }
    if let Some(crl) = kafka.property("ssl.crl.location") {
        let refused = unusable("ssl.crl.location");
        let lookup = builder.cert_store_mut().add_lookup(X509Lookup::file()).map_err(&refused)?;
        lookup.load_crl_file(crl, openssl::ssl::SslFiletype::PEM).map_err(&refused)?;
        builder.cert_store_mut().set_flags(X509VerifyFlags::CRL_CHECK).map_err(&refused)?;
    }
    if let Some(pem) = kafka.property("ssl.ca.pem") {
        for certificate in X509::stack_from_pem(pem.as_bytes()).map_err(unusable("ssl.ca.pem"))? {
            builder.cert_store_mut().add_cert(certificate).map_err(unusable("ssl.ca.pem"))?;
        }
    }
    match location {
        Some(path) if Path::new(path).is_dir() => {
            builder.load_verify_locations(None, Some(Path::new(path))).map_err(unusable("ssl.ca.location"))
        }
        Some(path) => builder.set_ca_file(path).map_err(unusable("ssl.ca.location")),
        None => Ok(()),
    }
}

/// Who we are, where the brokers ask.
fn own(kafka: &Kafka, builder: &mut SslConnectorBuilder) -> Result<()> {
    let password = kafka.property("ssl.key.password").unwrap_or_default();
    if let Some(path) = kafka.property("ssl.keystore.location") {
        let refused = unusable("ssl.keystore.location");
        let store = Pkcs12::from_der(&read("ssl.keystore.location", path)?).map_err(&refused)?;
        let password = kafka.property("ssl.keystore.password").unwrap_or_default();
        let store = store.parse2(password).map_err(&refused)?;
        if let Some(certificate) = &store.cert {
            builder.set_certificate(certificate).map_err(&refused)?;
        }
        for certificate in store.ca.into_iter().flatten() {
            builder.add_extra_chain_cert(certificate).map_err(&refused)?;
        }
        if let Some(key) = &store.pkey {
            builder.set_private_key(key).map_err(&refused)?;
        }
    }
    if let Some((name, pem)) = text(kafka, "ssl.certificate")? {
        let mut chain = X509::stack_from_pem(&pem).map_err(unusable(name))?.into_iter();
        if let Some(certificate) = chain.next() {
            builder.set_certificate(&certificate).map_err(unusable(name))?;
        }
        for certificate in chain {
            builder.add_extra_chain_cert(certificate).map_err(unusable(name))?;
        }
    }
    if let Some((name, pem)) = text(kafka, "ssl.key")? {
        // Always with a password, or OpenSSL would ask on the terminal.
        let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes()).map_err(unusable(name))?;
        builder.set_private_key(&key).map_err(unusable(name))?;
        builder.check_private_key().map_err(unusable(name))?;
    }
    Ok(())
}

/// `<what>.location`'s content, or `<what>.pem`'s, with the property's name.
fn text(kafka: &Kafka, what: &'static str) -> Result<Option<(&'static str, Vec<u8>)>> {
    let (location, pem) = match what {
        "ssl.key" => ("ssl.key.location", "ssl.key.pem"),
        _ => ("ssl.certificate.location", "ssl.certificate.pem"),
    };
    if let Some(path) = kafka.property(location) {
        return Ok(Some((location, read(location, path)?)));
    }
    Ok(kafka.property(pem).map(|text| (pem, text.as_bytes().to_vec())))
}

fn read(property: &str, path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::new(Kind::Config, format!("kafka.\"{property}\" {path} cannot be read"))
            .because(error)
            .hint("check the path and its rights")
    })
}

fn unusable(property: &'static str) -> impl Fn(ErrorStack) -> Error {
    move |error| {
        Error::new(Kind::Config, format!("kafka: {property} cannot be used"))
            .because(error)
            .hint("check the properties under [kafka] that begin with ssl")
    }
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::rsa::Rsa;

    use super::*;

    fn certificate() -> (String, String) {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        (text(builder.build().to_pem().unwrap()), text(key.private_key_to_pem_pkcs8().unwrap()))
    }

    fn trusted(properties: &[(&str, &str)]) -> usize {
        let tls = Tls::of(&Kafka::with(properties)).unwrap();
        tls.connector.context().cert_store().all_certificates().len()
    }

    #[test]
    fn whoever_names_an_authority_trusts_no_other() {
        let (pem, _) = certificate();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &pem).unwrap();
        assert_eq!(trusted(&[("ssl.ca.pem", &pem)]), 1);
        assert_eq!(trusted(&[("ssl.ca.location", file.path().to_str().unwrap())]), 1);
        assert_eq!(trusted(&[("ssl.ca.location", "probe")]), trusted(&[]));
    }

    #[test]
    fn what_cannot_be_used_is_told_by_its_property() {
        let ((pem, _), (_, anothers)) = (certificate(), certificate());
        for (properties, said) in [
            (&[("ssl.ca.location", "/nowhere.pem")][..], "ssl.ca.location"),
            (&[("ssl.certificate.location", "/nowhere.pem")], "ssl.certificate.location"),
            (&[("ssl.certificate.pem", &pem), ("ssl.key.pem", &anothers)], "ssl.key.pem"),
            (&[("ssl.cipher.suites", "none of these")], "ssl.cipher.suites"),
        ] {
            let error = Tls::of(&Kafka::with(properties)).err().unwrap();
            assert!(error.message().contains(said), "{error:?}");
            assert_eq!(error.kind(), Kind::Config);
        }
    }
}
