//! Our own certificate, where the server asks for one.

use std::path::Path;

use native_tls::Identity;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::config::{ClientCertificate, Secret};
use crate::{Error, Kind, Result};

/// The identity for a connection; none if nothing is configured. Read each time, since certificates are renewed in place.
pub(super) fn identity(files: &ClientCertificate) -> Result<Option<Identity>> {
    let (Some(certificate_path), Some(key_path)) = (&files.certificate, &files.key) else {
        return match (&files.certificate, &files.key) {
            (None, None) => Ok(None),
            _ => Err(wrong("sslcert and sslkey", "one of the two is missing", None)),
        };
    };
    let pem = read("sslcert", certificate_path)?;
    let chain = match X509::stack_from_pem(&pem) {
        Ok(chain) if !chain.is_empty() => chain,
        _ => X509::from_der(&pem).into_iter().collect(),
    };
    let own = chain
        .first()
        .ok_or_else(|| wrong("sslcert", "the file holds no certificate in PEM or DER", Some(certificate_path)))?;
    let key = key(&read("sslkey", key_path)?, files.password.as_ref(), key_path)?;
    // The server's answer to a pair that does not match names neither file.
    if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
        return Err(wrong("sslkey", "the key is not the certificate's", Some(key_path)));
    }
    let unusable = |_| wrong("sslkey", "the key cannot be used", Some(key_path));
    let pkcs8 = key.private_key_to_pem_pkcs8().map_err(unusable)?;
    // From the first certificate on: text before it is not understood.
    let mut clean = Vec::new();
    for certificate in &chain {
        clean.extend(
            certificate
                .to_pem()
                .map_err(|_| wrong("sslcert", "a certificate cannot be used", Some(certificate_path)))?,
        );
    }
    Identity::from_pkcs8(&clean, &pkcs8)
        .map(Some)
        .map_err(|error| wrong("sslcert and sslkey", "the two cannot be used", Some(certificate_path)).because(error))
}

/// A key as PEM (PKCS#8, PKCS#1 or SEC1, encrypted or not) or as DER.
fn key(content: &[u8], password: Option<&Secret>, path: &Path) -> Result<PKey<Private>> {
    // Never without a passphrase: OpenSSL would ask for it on the terminal.
    let passphrase = password.map_or("", Secret::reveal).as_bytes();
    let is_pem = content.windows(11).any(|window| window == b"-----BEGIN ");
    let read = match is_pem {
        true => PKey::private_key_from_pem_passphrase(content, passphrase),
        false => PKey::private_key_from_der(content)
            .or_else(|_| PKey::private_key_from_pkcs8_passphrase(content, passphrase)),
    };
    read.map_err(|_| {
        let encrypted = content.windows(9).any(|window| window == b"ENCRYPTED") || !is_pem && password.is_none();
        let what = match (encrypted, password.is_some()) {
            (true, false) => "the key is encrypted, or no key; database.sslpassword is not set",
            (true, true) => "the key cannot be read with database.sslpassword",
            _ => "the file holds no private key in PEM or DER",
        };
        wrong("sslkey", what, Some(path))
    })
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| wrong(key, "the file cannot be read", Some(path)).because(error))
}

fn wrong(key: &str, what: &str, path: Option<&Path>) -> Error {
    let path = path.map(|path| format!(" {}", path.display())).unwrap_or_default();
    Error::new(Kind::Refused, format!("1023: database.{key}{path}: {what}"))
        .hint("sslcert is the file of the role's certificate, sslkey that of its private key")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::rsa::Rsa;
    use openssl::symm::Cipher;

    use super::*;

    struct Files {
        directory: tempfile::TempDir,
    }

    impl Files {
        fn put(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        }
    }

    fn certificate(key: &PKey<Private>) -> Vec<u8> {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.set_pubkey(key).unwrap();
        builder.sign(key, MessageDigest::sha256()).unwrap();
        builder.build().to_pem().unwrap()
    }

    fn error(files: &ClientCertificate) -> String {
        identity(files).err().unwrap().to_string()
    }

    #[test]
    fn keys_of_every_usual_form_are_taken() {
        let files = Files { directory: tempfile::TempDir::new().unwrap() };
        let rsa = Rsa::generate(2048).unwrap();
        let ec = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
        let (of_rsa, of_ec) = (PKey::from_rsa(rsa.clone()).unwrap(), PKey::from_ec_key(ec.clone()).unwrap());
        let cipher = Cipher::aes_256_cbc();
        let forms: Vec<(&str, &PKey<Private>, Vec<u8>)> = vec![
            ("pkcs8", &of_rsa, of_rsa.private_key_to_pem_pkcs8().unwrap()),
            (
                "pkcs8 of ec, text before it",
                &of_ec,
                [b"Bag Attributes\n".to_vec(), of_ec.private_key_to_pem_pkcs8().unwrap()].concat(),
            ),
            ("encrypted pkcs8", &of_rsa, of_rsa.private_key_to_pem_pkcs8_passphrase(cipher, b"hidden").unwrap()),
            ("pkcs1", &of_rsa, rsa.private_key_to_pem().unwrap()),
            ("encrypted pkcs1", &of_rsa, rsa.private_key_to_pem_passphrase(cipher, b"hidden").unwrap()),
            ("sec1", &of_ec, ec.private_key_to_pem().unwrap()),
            ("der", &of_rsa, of_rsa.private_key_to_der().unwrap()),
        ];
        for (form, key, content) in forms {
            let own = ClientCertificate {
                certificate: Some(files.put("cert.pem", &certificate(key))),
                key: Some(files.put("key", &content)),
                password: Some(Secret::new("hidden")),
            };
            assert!(identity(&own).is_ok_and(|identity| identity.is_some()), "{form}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_its_file_and_never_asked_for_on_the_terminal() {
        let files = Files { directory: tempfile::TempDir::new().unwrap() };
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let other = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"hidden").unwrap();
        let own = |content: &[u8], password: Option<&str>| ClientCertificate {
            certificate: Some(files.put("cert.pem", &certificate(&key))),
            key: Some(files.put("key.pem", content)),
            password: password.map(Secret::new),
        };
        assert!(
            error(&own(&other.private_key_to_pem_pkcs8().unwrap(), None)).contains("the key is not the certificate's")
        );
        assert!(error(&own(&encrypted, None)).contains("database.sslpassword is not set"));
        assert!(error(&own(&encrypted, Some("wrong"))).contains("cannot be read with database.sslpassword"));
        assert!(error(&own(b"hello", Some("x"))).contains("key.pem: the file holds no private key"));
        let alone = ClientCertificate { key: None, ..own(b"", None) };
        assert!(error(&alone).contains("one of the two is missing"));
        let none = ClientCertificate { certificate: Some("/nowhere/c.pem".into()), ..own(b"", None) };
        assert!(error(&none).contains("/nowhere/c.pem"));
        assert!(identity(&ClientCertificate::default()).unwrap().is_none());
    }
}
