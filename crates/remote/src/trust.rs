//! TLS: which certificates are trusted, and why one is rejected.
//!
//! The system's certificate authorities are trusted. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others
//! in their place, as they do for OpenSSL.

use rustls::CertificateError;
use std::error::Error as StdError;
use std::io;

/// Why a connection cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// The certificate is of an authority that this machine does not know, or is invalid.
    Authority,
    /// The certificate is for another server.
    Name,
    /// The certificate is not valid yet, or has expired.
    Validity,
    /// The server does not speak TLS, or none of the versions that this client speaks.
    Protocol,
}

/// Returns the TLS fault that kept a connection from being made, if it was one.
pub(crate) fn fault_of(error: &reqwest::Error) -> Option<TlsFault> {
    if !error.is_connect() {
        // Once a connection exists, a TLS error is a broken connection.
        return None;
    }
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(error) => Some(match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFault::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFault::Validity,
            _ => TlsFault::Authority,
        }),
        rustls::Error::InvalidMessage(_)
        | rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            Some(TlsFault::Protocol)
        }
        _ => None,
    }
}

/// Returns the TLS error among the causes of an error.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // The source of an I/O error skips the error that it wraps.
        at = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|held| held as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Returns what to do if no certificate authority is known at all.
pub(crate) fn hint_without_authorities() -> String {
    let named: Vec<&str> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some())
        .collect();
    match named[..] {
        [] => "install its certificates (Debian: ca-certificates), or name a file with certificates in \
               SSL_CERT_FILE"
            .into(),
        _ => format!(
            "look at {}: if one is set, the certificates that it names replace the system's",
            named.join(" and ")
        ),
    }
}
