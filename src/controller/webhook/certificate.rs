//! The webhook's certificates: made here, kept in memory, replaced in time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// An authority that signed one certificate and whose key is forgotten.
#[derive(Clone, Debug)]
pub struct Minted {
    /// In PEM, for the API server to trust.
    pub authority: String,
    /// The certificate and its key.
    pub certified: Arc<CertifiedKey>,
    pub made: Timestamp,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("could not make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("could not use the key of a certificate: {0}")]
    Use(#[from] rustls::Error),
}

/// A certificate for these DNS names, good for `lifetime` and a day. `identity` sets its authority apart from those of other
/// replicas.
///
/// # Errors
/// When the system has no randomness, or a name is none.
pub fn mint(names: &[String], identity: &str, now: Timestamp, lifetime: Duration) -> Result<Minted, MintError> {
    let authority_key = KeyPair::generate()?;
    let mut authority = dated(CertificateParams::new(Vec::<String>::new())?, now, lifetime);
    let name = format!("vitess-backup-operator webhook {identity} {}", now.as_second());
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let trusted = authority.self_signed(&authority_key)?;

    let key = KeyPair::generate()?;
    let mut own = dated(CertificateParams::new(names.to_vec())?, now, lifetime);
    own.distinguished_name.push(DnType::CommonName, names.first().map_or("webhook", String::as_str));
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    own.use_authority_key_identifier_extension = true;
    let signed = own.signed_by(&key, &Issuer::new(authority, authority_key))?;

    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let certified = CertifiedKey::new(vec![signed.der().clone()], any_supported_type(&private)?);
    Ok(Minted { authority: trusted.pem(), certified: Arc::new(certified), made: now })
}

/// In whole days, generously: clocks differ.
fn dated(mut params: CertificateParams, now: Timestamp, lifetime: Duration) -> CertificateParams {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = day(now - DAY);
    params.not_after = day(now + lifetime + 2 * DAY);
    params
}

/// Whether it is time for another one.
pub fn is_due(made: Timestamp, now: Timestamp, lifetime: Duration) -> bool {
    Duration::try_from(now.duration_since(made)).is_ok_and(|age| age >= lifetime / 2)
}

/// What rustls shows to whoever connects: the certificate of now.
#[derive(Debug, Default)]
pub struct Resolver(RwLock<Option<Arc<CertifiedKey>>>);

impl Resolver {
    pub fn show(&self, certified: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(certified);
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
