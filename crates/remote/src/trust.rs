//! TLS: whose certificates are believed, and why one is not.
//!
//! The authorities that are believed are the system's; `SSL_CERT_FILE` and `SSL_CERT_DIR` name
//! others in their place, as they do for OpenSSL.

use rustls::CertificateError;
use std::error::Error as StdError;
use std::io;

/// What keeps a connection from being one that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// The certificate is of an authority that this machine does not know, or worth nothing.
    Authority,
    /// The certificate is one for another server.
    Name,
    /// The certificate is not valid yet, or no more.
    Validity,
    /// The other side speaks something else than TLS, or none of its versions that we speak.
    Protocol,
}

/// What TLS found wrong when a connection was to be made, if that is why it was not.
pub(crate) fn fault_of(error: &reqwest::Error) -> Option<TlsFault> {
    if !error.is_connect() {
        // Later on it is a connection that breaks.
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

/// The error of TLS among the causes of an error.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // One of I/O is not caused by what it holds: it passes that off as itself.
        at = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|held| held as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// What to do where no authority is known at all.
pub(crate) fn hint_without_authorities() -> String {
    let named: Vec<&str> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some())
        .collect();
    match named[..] {
        [] => "install its certificates (Debian: ca-certificates), or name a file of them in \
               SSL_CERT_FILE"
            .into(),
        _ => format!(
            "look at {}: where one is set, what it names takes the place of the system's certificates",
            named.join(" and ")
        ),
    }
}
