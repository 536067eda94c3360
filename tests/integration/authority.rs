//! Certificates of the tests' own authorities.

#![allow(clippy::unwrap_used)] // a test that cannot set its stage fails

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// A certificate and its key.
pub struct Certified {
    pub certificate: X509,
    pub key: PKey<Private>,
}

pub fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

pub fn ec() -> PKey<Private> {
    PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap()).unwrap()
}

pub fn ed25519() -> PKey<Private> {
    PKey::generate_ed25519().unwrap()
}

impl Certified {
    /// One that has signed itself, and may sign others.
    pub fn authority(name: &str) -> Certified {
        let key = rsa();
        let mut builder = begun(name, &key);
        builder.set_issuer_name(&named(name)).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Certified { certificate: builder.build(), key }
    }

    /// One that has signed itself and may sign nobody, as Heroku's servers have.
    pub fn lonely(name: &str) -> Certified {
        let key = rsa();
        let mut builder = begun(name, &key);
        builder.set_issuer_name(&named(name)).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Certified { certificate: builder.build(), key }
    }

    /// One that this authority signs, made out to these names and addresses.
    pub fn sign(&self, name: &str, key: PKey<Private>, hosts: &[&str]) -> Certified {
        let mut builder = begun(name, &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        if !hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in hosts {
                if host.parse::<std::net::IpAddr>().is_ok() {
                    names.ip(host);
                } else {
                    names.dns(host);
                }
            }
            let names = names.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        let digest = if self.key.id() == Id::ED25519 { MessageDigest::null() } else { MessageDigest::sha256() };
        builder.sign(&self.key, digest).unwrap();
        Certified { certificate: builder.build(), key }
    }

    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }
}

fn named(name: &str) -> openssl::x509::X509Name {
    let mut names = X509NameBuilder::new().unwrap();
    names.append_entry_by_text("CN", name).unwrap();
    names.build()
}

fn begun(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_subject_name(&named(name)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}
