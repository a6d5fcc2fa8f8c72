//! The kinds of failures of requests: whether to try again, and what to tell the user.

use crate::client::{ErrorResponse, TransportError, TransportFault};
use crate::trust::TlsFault;
use freestone_core::{Error, ErrorKind};
use std::error::Error as StdError;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The object does not exist.
    Missing,
    /// The bucket does not exist.
    NoBucket,
    /// An object of that name exists already.
    Exists,
    /// Another writer is creating an object of that name.
    Raced,
    /// The requested range is not within the object.
    BeyondEnd,
    /// The server ignores ranges and answers with the whole object.
    NoRanges,
    /// No credentials were found or sent.
    NoCredentials,
    /// The server does not know the access key.
    UnknownKey,
    /// The signature is wrong: the secret is wrong, or the request was changed in transit.
    Signature,
    /// The credentials have expired.
    Expired,
    /// The clocks of this machine and the server differ too much.
    ClockSkew,
    /// The key does not permit this request.
    Denied,
    /// The disk is full, or a quota is used up.
    Full,
    /// The bucket is in another region, or at another server.
    WrongRegion,
    /// The server is busy or failing.
    Busy,
    /// The server did not receive what was sent, or does not accept such a request.
    Garbled,
    /// The server does not know the upload.
    NoUpload,
    /// No connection could be made.
    Unreachable,
    /// The server could be reached, but not by TLS, or not with a trusted certificate.
    Tls(TlsFault),
    /// No bytes were transferred for too long.
    Stalled,
    /// Bytes are transferred, but too slowly.
    Slow,
    /// The answer, or a listing, has no end.
    Endless,
    /// The object is in an archive, and must be restored before it can be read.
    Archived,
    /// The connection broke, or the answer could not be understood.
    Broken,
    /// Anything else.
    Other,
}

/// Returns the first error of type `T` among `error` and its causes.
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
    /// Classifies an error.
    pub(crate) fn of(error: &object_store::Error) -> Self {
        if let Some(answer) = cause::<ErrorResponse>(error) {
            if is_of_credentials(error) {
                return Self::NoCredentials;
            }
            return Self::of_answer(answer);
        }
        if let Some(broken) = cause::<TransportError>(error) {
            return match broken.fault {
                // The credentials of containers and instances come from a fixed address.
                TransportFault::Connect | TransportFault::Stall if is_of_credentials(error) => {
                    Self::NoCredentials
                }
                TransportFault::Tls(fault) => Self::Tls(fault),
                TransportFault::Connect => Self::Unreachable,
                TransportFault::Stall => Self::Stalled,
                TransportFault::Slow => Self::Slow,
                TransportFault::TooLong => Self::Endless,
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
                    // Headers or a listing that cannot be read.
                    Self::Broken
                }
            }
        }
    }

    /// Classifies an answer by S3's code, else by the HTTP status.
    fn of_answer(answer: &ErrorResponse) -> Self {
        match &answer.code[..] {
            "NoSuchBucket" => return Self::NoBucket,
            "NoSuchUpload" => return Self::NoUpload,
            "InvalidAccessKeyId" | "InvalidClientTokenId" => return Self::UnknownKey,
            "SignatureDoesNotMatch" => return Self::Signature,
            "InvalidObjectState" => return Self::Archived,
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

    /// Returns true if the same request may succeed later.
    pub(crate) fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Raced
                | Self::Busy
                | Self::Garbled
                | Self::Unreachable
                | Self::Stalled
                | Self::Slow
                | Self::Broken
        )
    }

    /// Returns true if the server may have carried the request out although it failed.
    pub(crate) fn may_be_done(self) -> bool {
        matches!(self, Self::Raced | Self::Busy | Self::Stalled | Self::Slow | Self::Broken)
    }
}

/// Returns true if `error` is an answer without S3's code whose status has many meanings.
pub(crate) fn says_nothing(error: &object_store::Error) -> bool {
    cause::<ErrorResponse>(error)
        .is_some_and(|answer| answer.code.is_empty() && matches!(answer.status, 400 | 401 | 403))
}

/// Returns true if the request that failed was for the credentials of the machine.
fn is_of_credentials(error: &object_store::Error) -> bool {
    let text = error.to_string();
    text.contains("//169.254.") || text.contains("/latest/api/token")
}

/// Returns the error for the user: what failed, at which store and server, and what to do next.
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
    let (kind, text, hint) = match cause::<ErrorResponse>(&error) {
        Some(answer) if fault == Fault::Archived => archived(&answer.class),
        _ => message_of(fault, place, endpoint),
    };
    Error::new(kind, format!("cannot {what}: {text}")).because(detail).hint(hint)
}

/// Returns kind, message and hint of an object that is in an archive.
fn archived(class: &str) -> (ErrorKind, String, String) {
    let class = if class.is_empty() { "an archive" } else { class };
    let text =
        format!("its storage class is {class}, so it must be restored before it can be read");
    let hint = "restore it with the server's own tools, and exempt the store's prefix from the lifecycle \
                rule that moved it";
    (ErrorKind::Storage, text, hint.into())
}

/// Returns kind, message and hint of a fault.
fn message_of(fault: Fault, place: &str, endpoint: &str) -> (ErrorKind, String, String) {
    let storage = |text: String, hint: &str| (ErrorKind::Storage, text, hint.to_owned());
    match fault {
        Fault::Missing => {
            (ErrorKind::NotFound, "it does not exist".into(), "check the name".into())
        }
        Fault::NoBucket => (
            ErrorKind::NotFound,
            format!("{place}: {endpoint} has no such bucket"),
            "create the bucket with the server's own tools, or check its name and AWS_ENDPOINT_URL"
                .into(),
        ),
        Fault::NoCredentials => storage(
            format!("{endpoint} requires credentials, and none are set"),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
        ),
        Fault::UnknownKey => storage(
            format!("bad credentials: {endpoint} does not know the access key"),
            "check AWS_ACCESS_KEY_ID, and that AWS_ENDPOINT_URL names the server that it belongs to",
        ),
        Fault::Signature => storage(
            format!("bad credentials: {endpoint} rejects the signature"),
            "check AWS_SECRET_ACCESS_KEY: it does not belong to the access key",
        ),
        Fault::Expired => storage(
            "the credentials have expired".into(),
            "get new ones; AWS_SESSION_TOKEN has the token of the old ones",
        ),
        Fault::ClockSkew => storage(
            format!("the clocks of this machine and of {endpoint} differ too much"),
            "set the clock of this machine or of the server; a difference of 15 minutes is allowed",
        ),
        Fault::Denied => storage(
            format!("{place}: the key may not do that"),
            "use a key that may: a push needs to read, write and list, and to delete merged index segments; other commands need to read and list",
        ),
        Fault::Full => storage(
            format!("{place} is full, or a quota is used up"),
            "make room or raise the quota, and run the command again; nothing is lost",
        ),
        Fault::WrongRegion => storage(
            format!("{place} is in another region, or at another server"),
            "set AWS_REGION, and AWS_ENDPOINT_URL if the server is not Amazon's",
        ),
        Fault::Unreachable => storage(
            format!("{endpoint} cannot be reached"),
            "check the network, and AWS_ENDPOINT_URL or the URL of the store",
        ),
        Fault::Tls(fault) => {
            let (text, hint) = tls_message_of(fault, endpoint);
            storage(text, hint)
        }
        Fault::Stalled => storage(
            format!("{endpoint} does not answer"),
            "it may be full, overloaded or without its disks: check the server; the key `timeout` of the configuration says how long to wait",
        ),
        Fault::Slow => storage(
            format!("{endpoint} sends too slowly"),
            "it or the network may be overloaded: try again later; docs/remote.md says how slow is too slow",
        ),
        Fault::Endless => storage(
            format!("{endpoint} sends more than such an answer can have"),
            "check that AWS_ENDPOINT_URL or the URL of the store names the right server",
        ),
        Fault::Archived => archived(""),
        Fault::NoRanges => storage(
            format!("{endpoint} ignores ranges and sends whole files"),
            "a store over HTTPS needs a server that answers range requests, as nginx, Apache and object stores do",
        ),
        Fault::BeyondEnd => (
            ErrorKind::Corrupt,
            "it is shorter than it should be".into(),
            "`freestone verify` lists what is damaged".into(),
        ),
        Fault::Garbled => storage(
            format!("{endpoint} did not understand the request"),
            "check that the credentials are not empty; otherwise a proxy may be changing requests, or the server lacks a feature of S3 that is needed",
        ),
        Fault::Busy | Fault::Raced => {
            storage(format!("{endpoint} is busy or failing"), "try again later; nothing is lost")
        }
        Fault::Broken => storage(
            format!("the connection to {endpoint} breaks repeatedly"),
            "try again later; nothing is lost",
        ),
        Fault::Exists | Fault::NoUpload | Fault::Other => {
            storage(format!("{endpoint} refused the request"), "the server's own log may say more")
        }
    }
}

/// Returns message and hint of a TLS fault.
fn tls_message_of(fault: TlsFault, endpoint: &str) -> (String, &'static str) {
    match fault {
        TlsFault::Authority => (
            format!(
                "{endpoint} cannot be trusted: its certificate is of no authority that this machine knows"
            ),
            "name a file with the authority's certificate in SSL_CERT_FILE, or add the certificate to the system's (Debian: copy it to /usr/local/share/ca-certificates, then run update-ca-certificates)",
        ),
        TlsFault::Name => (
            format!("{endpoint} cannot be trusted: its certificate is for another name"),
            "name the server as its certificate does, in AWS_ENDPOINT_URL or the URL of the store",
        ),
        TlsFault::Validity => (
            format!(
                "{endpoint} cannot be trusted: its certificate is out of date, or this machine's clock is"
            ),
            "check this machine's clock; if it is right, the server needs a new certificate",
        ),
        TlsFault::Protocol => (
            format!("{endpoint} does not speak TLS, or only old versions of it"),
            "for a server of plain http, write http:// in AWS_ENDPOINT_URL; https:// needs TLS 1.2 or 1.3",
        ),
    }
}
