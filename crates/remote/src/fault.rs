//! What went wrong with a request, told apart: for trying again, and for saying what to do.

use crate::client::{ErrorResponse, TransportError, TransportFault};
use crate::trust::TlsFault;
use freestone_core::{Error, ErrorKind};
use std::error::Error as StdError;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such object.
    Missing,
    /// There is no such bucket.
    NoBucket,
    /// There is an object of that name already.
    Exists,
    /// Somebody else is making an object of that name.
    Raced,
    /// A range was asked for that the object does not have.
    BeyondEnd,
    /// The server did not find the ranges that were asked for worth an answer of their own.
    NoRanges,
    /// There are no credentials.
    NoCredentials,
    /// The server does not know the key.
    UnknownKey,
    /// The signature is wrong: the secret is, or the request was changed on the way.
    Signature,
    /// The credentials have expired.
    Expired,
    /// The clocks of here and there differ too much.
    ClockSkew,
    /// The key may not do that.
    Denied,
    /// There is no room, or a quota is used up.
    Full,
    /// The bucket is elsewhere.
    WrongRegion,
    /// The server is busy or failing.
    Busy,
    /// What arrived there is not what was sent.
    Garbled,
    /// An upload is not known there.
    NoUpload,
    /// There was no connection.
    Unreachable,
    /// There was one, but no TLS, or no trust.
    Tls(TlsFault),
    /// Nothing moved for too long.
    Stalled,
    /// The connection broke, or what came back made no sense.
    Broken,
    /// Anything else.
    Other,
}

/// The first cause of a type.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

impl Fault {
    pub(crate) fn of(error: &object_store::Error) -> Self {
        if let Some(answer) = cause::<ErrorResponse>(error) {
            if is_of_credentials(error) {
                return Self::NoCredentials;
            }
            return Self::of_answer(answer);
        }
        if let Some(broken) = cause::<TransportError>(error) {
            return match broken.fault {
                // Credentials that are asked of the machine itself come from a fixed address.
                TransportFault::Connect | TransportFault::Stall if is_of_credentials(error) => {
                    Self::NoCredentials
                }
                TransportFault::Tls(fault) => Self::Tls(fault),
                TransportFault::Connect => Self::Unreachable,
                TransportFault::Stall => Self::Stalled,
                TransportFault::Break => Self::Broken,
            };
        }
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            object_store::Error::AlreadyExists { .. } => Self::Exists,
            _ => {
                let text = error.to_string();
                if text.contains("non-partial response") {
                    Self::NoRanges
                } else if text.contains("greater than object length")
                    || text.contains("Wanted range starting")
                {
                    Self::BeyondEnd
                } else {
                    // An answer that is none: headers or a listing that cannot be read.
                    Self::Broken
                }
            }
        }
    }

    fn of_answer(answer: &ErrorResponse) -> Self {
        match &answer.code[..] {
            "NoSuchBucket" => return Self::NoBucket,
            "NoSuchUpload" => return Self::NoUpload,
            "InvalidAccessKeyId" | "InvalidClientTokenId" => return Self::UnknownKey,
            "SignatureDoesNotMatch" => return Self::Signature,
            "ExpiredToken" | "TokenRefreshRequired" => return Self::Expired,
            "RequestTimeTooSkewed" | "RequestExpired" => return Self::ClockSkew,
            "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity" => return Self::Full,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => return Self::WrongRegion,
            "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" => return Self::Garbled,
            "RequestTimeout" | "IncompleteBody" | "SlowDown" => return Self::Busy,
            "ConditionalRequestConflict" | "OperationAborted" => return Self::Raced,
            _ => {}
        }
        match answer.status {
            301 | 302 | 307 | 308 => Self::WrongRegion,
            304 | 412 => Self::Exists,
            401 => Self::NoCredentials,
            403 => Self::Denied,
            404 | 410 => Self::Missing,
            408 | 429 => Self::Busy,
            409 => Self::Raced,
            416 => Self::BeyondEnd,
            501 => Self::Other,
            507 => Self::Full,
            500.. => Self::Busy,
            400 | 405 | 411 | 414 | 431 => Self::Garbled,
            _ => Self::Other,
        }
    }

    /// Whether the same request may come to another end by itself.
    pub(crate) fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Raced
                | Self::Busy
                | Self::Garbled
                | Self::Unreachable
                | Self::Stalled
                | Self::Broken
        )
    }

    /// Whether the request may have been carried out although it failed.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Raced | Self::Busy | Self::Stalled | Self::Broken)
    }
}

fn is_of_credentials(error: &object_store::Error) -> bool {
    let text = error.to_string();
    text.contains("//169.254.") || text.contains("/latest/api/token")
}

/// What is said of a request that failed for good: what was done, at which place, and what next.
pub(crate) fn describe(
    what: &str,
    place: &str,
    endpoint: &str,
    error: object_store::Error,
) -> Error {
    let fault = Fault::of(&error);
    let detail = cause::<ErrorResponse>(&error)
        .map(ToString::to_string)
        .or_else(|| cause::<TransportError>(&error).map(ToString::to_string))
        .unwrap_or_else(|| error.to_string());
    let (kind, text, hint) = say(fault, place, endpoint);
    Error::new(kind, format!("cannot {what}: {text}")).because(detail).hint(hint)
}

fn say(fault: Fault, place: &str, endpoint: &str) -> (ErrorKind, String, String) {
    let storage = |text: String, hint: &str| (ErrorKind::Storage, text, hint.to_owned());
    match fault {
        Fault::Missing => (ErrorKind::NotFound, "it does not exist".into(), "look at the name".into()),
        Fault::NoBucket => (
            ErrorKind::NotFound,
            format!("{place}: {endpoint} has no such bucket"),
            "make the bucket with the server's own tools, or look at its name and at AWS_ENDPOINT_URL".into(),
        ),
        Fault::NoCredentials => storage(
            format!("{endpoint} wants credentials, and there are none"),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
        ),
        Fault::UnknownKey => storage(
            format!("bad credentials: {endpoint} does not know the access key"),
            "look at AWS_ACCESS_KEY_ID, and that AWS_ENDPOINT_URL names the server it belongs to",
        ),
        Fault::Signature => storage(
            format!("bad credentials: {endpoint} finds the signature wrong"),
            "look at AWS_SECRET_ACCESS_KEY: it does not belong to the access key",
        ),
        Fault::Expired => storage(
            "the credentials have expired".into(),
            "get new ones; AWS_SESSION_TOKEN holds the old ones' token",
        ),
        Fault::ClockSkew => storage(
            format!("the clocks of this machine and of {endpoint} differ too much"),
            "set this machine's clock, or the server's; a quarter of an hour is allowed",
        ),
        Fault::Denied => storage(
            format!("{place}: the key may not do that"),
            "use a key that may: pushing needs reading, writing and listing, and deleting to tidy up; other commands read and list",
        ),
        Fault::Full => storage(
            format!("{place} is full, or a quota is used up"),
            "make room or raise the quota, and run the command again; nothing is lost",
        ),
        Fault::WrongRegion => storage(
            format!("{place} is in another region, or at another end point"),
            "set AWS_REGION, and AWS_ENDPOINT_URL where it is not Amazon's",
        ),
        Fault::Unreachable => storage(
            format!("{endpoint} cannot be reached"),
            "look at the network, and at AWS_ENDPOINT_URL or the URL of the store",
        ),
        Fault::Tls(TlsFault::Authority) => storage(
            format!("{endpoint} cannot be trusted: its certificate is of no authority that this machine knows"),
            "name a file with the authority's certificate in SSL_CERT_FILE, or add that to the system's (Debian: to /usr/local/share/ca-certificates, then update-ca-certificates)",
        ),
        Fault::Tls(TlsFault::Name) => storage(
            format!("{endpoint} cannot be trusted: its certificate is for another name"),
            "name the server as its certificate does, in AWS_ENDPOINT_URL or the URL of the store",
        ),
        Fault::Tls(TlsFault::Validity) => storage(
            format!("{endpoint} cannot be trusted: its certificate is out of date, or this machine's clock is"),
            "look at this machine's clock; if that is right, the server needs a new certificate",
        ),
        Fault::Tls(TlsFault::Protocol) => storage(
            format!("{endpoint} does not speak TLS, or only old versions of it"),
            "a server of plain http is named by http://, in AWS_ENDPOINT_URL; https:// needs TLS 1.2 or 1.3",
        ),
        Fault::Stalled => storage(
            format!("{endpoint} does not answer"),
            "it may be full, overloaded or without its disks: look at the server; the key `timeout` of the configuration says how long to wait",
        ),
        Fault::NoRanges => storage(
            format!("{endpoint} gives whole files only"),
            "a store over HTTPS needs a server that answers range requests, as nginx, Apache and object stores do",
        ),
        Fault::BeyondEnd => (
            ErrorKind::Corrupt,
            "it is shorter than it should be".into(),
            "`freestone verify` lists what is damaged".into(),
        ),
        Fault::Garbled => storage(
            format!("{endpoint} did not understand the request"),
            "something between here and there changes what is sent, or the server lacks what is needed of it",
        ),
        Fault::Busy | Fault::Raced => {
            storage(format!("{endpoint} is busy or failing"), "try again later; nothing is lost")
        }
        Fault::Broken => storage(
            format!("the connection to {endpoint} breaks again and again"),
            "try again later; nothing is lost",
        ),
        Fault::Exists | Fault::NoUpload | Fault::Other => {
            storage(format!("{endpoint} refused it"), "the server's own log may say more")
        }
    }
}
