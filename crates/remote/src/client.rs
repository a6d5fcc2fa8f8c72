//! HTTP for object_store, with counters, a rate limit and time-outs.
//!
//! An answer that is not a success becomes an [`ErrorResponse`], and a failure of the connection a
//! [`TransportError`], so that `fault` can classify both. object_store's own retries are off, since
//! `retry` decides about both.

use crate::options::RemoteOptions;
use crate::rate::RateLimit;
use crate::traffic::Traffic;
use crate::trust::{self, TlsFault};
use async_trait::async_trait;
use bytes::Bytes;
use freestone_core::{Error, ErrorKind, Result};
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use sync_wrapper::SyncStream;
use url::{Host, Url};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are sent between two checks of the rate limit and the clock.
const PIECE_BYTES: usize = 64 << 10;
/// The longest body that is read of an answer that is not a success.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;

/// The longest answer that is not a range of an object. A page of a listing has at most 1,000 names
/// of 1,024 bytes, each escaped as six at most.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// The fewest bytes a second that count as progress, on the average of the time that a request may
/// take without any. Only time that is spent waiting for the server counts.
const BYTES_PER_SECOND_MIN: u32 = 256;

/// A server's answer that is not a success.
#[derive(Clone, Debug)]
pub(crate) struct ErrorResponse {
    /// The HTTP status.
    pub(crate) status: u16,
    /// S3's own code, such as `NoSuchBucket`; may be empty.
    pub(crate) code: String,
    /// S3's message for people; may be empty.
    pub(crate) message: String,
    /// The storage class of an object that is in an archive; may be empty.
    pub(crate) class: String,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorResponse {}

/// The way in which the transport of a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportFault {
    /// No connection could be made.
    Connect,
    /// The server could be reached, but not by TLS, or not with a trusted certificate.
    Tls(TlsFault),
    /// No bytes were transferred for too long.
    Stall,
    /// Bytes are transferred, but too slowly.
    Slow,
    /// The answer is longer than one of its kind can be.
    TooLong,
    /// The connection broke, or the answer was not HTTP.
    Break,
}

/// A failure of the transport of a request.
#[derive(Debug)]
pub(crate) struct TransportError {
    pub(crate) fault: TransportFault,
    pub(crate) text: String,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TransportError {}

/// Classifies an error of the HTTP client.
fn broken(error: &reqwest::Error) -> TransportError {
    let fault = if let Some(fault) = trust::fault_of(error) {
        TransportFault::Tls(fault)
    } else if error.is_connect() {
        TransportFault::Connect
    } else if error.is_timeout() {
        TransportFault::Stall
    } else {
        TransportFault::Break
    };
    // The last cause is the most precise: "connection refused", "invalid peer certificate".
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    TransportError { fault, text: cause.to_string() }
}

/// Wraps an error for object_store, in a kind that it does not retry.
fn failed(broken: TransportError) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, broken)
}

/// Makes the HTTP clients of a backend.
#[derive(Clone, Debug)]
pub(crate) struct Connector(Arc<Transport>);

#[derive(Debug)]
struct Transport {
    client: reqwest::Client,
    /// Ignores the proxies of the environment; made at its first use.
    direct: OnceLock<Result<reqwest::Client, String>>,
    requests_max: usize,
    traffic: Arc<Traffic>,
    stall: Duration,
    up: Option<Arc<RateLimit>>,
    down: Option<Arc<RateLimit>>,
}

impl Connector {
    /// Makes the client that all requests of a backend share.
    ///
    /// # Errors
    /// This machine cannot make HTTPS connections, for example because it has no certificates.
    pub(crate) fn new(options: &RemoteOptions) -> Result<Self> {
        // Only the first call of this process has an effect. All calls install the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder(options.requests_max).build().map_err(|error| {
            let TransportError { text, .. } = broken(&error);
            Error::new(ErrorKind::Storage, format!("no HTTPS on this machine: {text}"))
                .hint(trust::hint_without_authorities())
        })?;
        let rate = || options.rate_limit.map(|rate| Arc::new(RateLimit::new(rate)));
        Ok(Self(Arc::new(Transport {
            client,
            direct: OnceLock::new(),
            requests_max: options.requests_max,
            traffic: options.traffic.clone(),
            stall: options.stall,
            up: rate(),
            down: rate(),
        })))
    }
}

/// Begins a client of at most `requests_max` idle connections.
fn builder(requests_max: usize) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("freestone/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(requests_max)
        .tcp_nodelay(true)
        .http1_only()
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(TransportClient(self.0.clone())))
    }
}

/// Makes no client: for trying whether settings are valid.
#[derive(Debug)]
pub(crate) struct NoConnector;

impl HttpConnector for NoConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(NoClient))
    }
}

#[derive(Debug)]
struct NoClient;

#[async_trait]
impl HttpService for NoClient {
    async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        let text = "no request is made".to_owned();
        Err(failed(TransportError { fault: TransportFault::Break, text }))
    }
}

#[derive(Debug)]
struct TransportClient(Arc<Transport>);

/// When bytes were transferred last.
#[derive(Clone)]
struct LastProgress(Arc<(Instant, AtomicU64)>);

impl LastProgress {
    fn new() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }

    /// Notes that bytes were transferred now.
    fn note(&self) {
        let elapsed = u64::try_from(self.0.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.1.store(elapsed, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.0.0 + Duration::from_millis(self.0.1.load(Ordering::Relaxed))
    }

    /// Waits until no bytes were transferred for `stall`.
    async fn stalled(&self, stall: Duration) {
        loop {
            let end = self.last() + stall;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end.into()).await;
        }
    }
}

/// The pace at which an answer comes.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Notes that `bytes` came after a wait. Returns false if those of the last `window` of waiting
    /// are too few.
    fn note(&mut self, bytes: usize, waited: Duration, window: Duration) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < window {
            return true;
        }
        let last = std::mem::take(self);
        let bytes_min = last.waited.saturating_mul(BYTES_PER_SECOND_MIN).as_secs();
        last.bytes >= bytes_min
    }
}

impl Transport {
    /// Returns the client for a server. What is meant for this machine, or for the link that it is
    /// on, never goes to a proxy: it may be in the clear because it does not leave the machine.
    fn client(&self, url: &Url) -> Result<&reqwest::Client, HttpError> {
        if !is_near(url) {
            return Ok(&self.client);
        }
        let build = || builder(self.requests_max).no_proxy().build();
        let direct = self.direct.get_or_init(|| build().map_err(|error| broken(&error).text));
        direct.as_ref().map_err(|text| {
            failed(TransportError { fault: TransportFault::Connect, text: text.clone() })
        })
    }

    /// Returns the error of an answer that comes too slowly.
    fn slow(&self) -> HttpError {
        let seconds = self.stall.as_secs_f32();
        let text = format!("fewer than {BYTES_PER_SECOND_MIN} bytes a second came for {seconds} s");
        failed(TransportError { fault: TransportFault::Slow, text })
    }

    /// Returns the error of a request that made no progress for too long.
    fn stalled(&self) -> HttpError {
        let text = format!("no bytes were transferred for {} s", self.stall.as_secs_f32());
        failed(TransportError { fault: TransportFault::Stall, text })
    }

    /// Splits a request's body into pieces, each sent when the rate limit allows it.
    fn body(&self, body: HttpRequestBody, progress: &LastProgress) -> reqwest::Body {
        let (traffic, rate, progress) = (self.traffic.clone(), self.up.clone(), progress.clone());
        let pieces = body.into_data_stream().flat_map(|bytes| {
            stream::iter(bytes.map_or_else(
                |error| vec![Err(error)],
                |bytes| pieces(&bytes).into_iter().map(Ok).collect(),
            ))
        });
        let limited = pieces.then(move |piece| {
            let (traffic, rate, progress) = (traffic.clone(), rate.clone(), progress.clone());
            async move {
                if let Ok(bytes) = &piece {
                    if let Some(rate) = rate {
                        rate.wait_for(bytes.len()).await;
                    }
                    traffic.sent(bytes.len());
                    progress.note();
                }
                piece
            }
        });
        reqwest::Body::wrap_stream(limited)
    }

    /// Streams a response's body of at most `bytes_max` bytes, each piece read when the rate limit
    /// allows it.
    fn received(
        self: &Arc<Self>,
        response: reqwest::Response,
        bytes_max: u64,
    ) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static {
        let service = self.clone();
        let begun = Some((response, Pace::default(), 0));
        stream::unfold(begun, move |state| {
            let service = service.clone();
            async move {
                let (mut response, mut pace, mut received) = state?;
                let asked = Instant::now();
                match tokio::time::timeout(service.stall, response.chunk()).await {
                    Ok(Ok(Some(bytes))) => {
                        service.traffic.received(bytes.len());
                        received += bytes.len() as u64;
                        if received > bytes_max {
                            return Some((Err(too_long(bytes_max)), None));
                        }
                        if !pace.note(bytes.len(), asked.elapsed(), service.stall) {
                            return Some((Err(service.slow()), None));
                        }
                        if let Some(rate) = &service.down {
                            rate.wait_for(bytes.len()).await;
                        }
                        Some((Ok(bytes), Some((response, pace, received))))
                    }
                    Ok(Ok(None)) => None,
                    Ok(Err(error)) => Some((Err(failed(broken(&error))), None)),
                    Err(_) => Some((Err(service.stalled()), None)),
                }
            }
        })
    }

    /// Reads an answer that is not a success, as an error.
    async fn refused(self: &Arc<Self>, response: reqwest::Response) -> HttpError {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let mut stream = Box::pin(self.received(response, ANSWER_BYTES_MAX));
        while let Some(Ok(bytes)) = stream.next().await {
            body.extend_from_slice(&bytes);
            if body.len() > ERROR_BODY_BYTES_MAX {
                break;
            }
        }
        let text = String::from_utf8_lossy(&body);
        let field = |name| element(&text, name).unwrap_or_default();
        let answer = ErrorResponse {
            status,
            code: field("Code"),
            message: field("Message"),
            class: field("StorageClass"),
        };
        HttpError::new(HttpErrorKind::Unknown, answer)
    }
}

/// Returns the text of the first XML element `name`. This is enough for the errors of S3.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (found, _) = rest.split_once(&format!("</{name}>"))?;
    let is_fine = |c: &char| !c.is_control();
    Some(found.chars().filter(is_fine).take(500).collect())
}

/// Returns the error of an answer of more than `bytes_max` bytes.
fn too_long(bytes_max: u64) -> HttpError {
    let text = format!("the answer has more than {bytes_max} bytes");
    failed(TransportError { fault: TransportFault::TooLong, text })
}

/// Returns true if the host of `url` is this machine or on its own link, as the servers are from
/// which instances of Amazon get their credentials.
fn is_near(url: &Url) -> bool {
    let is_near_v4 = |address: std::net::Ipv4Addr| {
        address.is_loopback() || address.is_unspecified() || address.is_link_local()
    };
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => is_near_v4(address),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some_and(is_near_v4)
        }
        None => false,
    }
}

/// Returns true if `path` is that of an object that readers without listings use to find what is new.
fn is_hint_or_entry(path: &str) -> bool {
    path.rsplit('/').next() == Some(freestone_format::hint::NAME) || path.contains("/refs/")
}

/// Splits `bytes` into pieces of [`PIECE_BYTES`].
fn pieces(bytes: &Bytes) -> Vec<Bytes> {
    (0..bytes.len())
        .step_by(PIECE_BYTES)
        .map(|at| bytes.slice(at..bytes.len().min(at + PIECE_BYTES)))
        .collect()
}

#[async_trait]
impl HttpService for TransportClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let service = &self.0;
        let (parts, body) = request.into_parts();
        let length = body.content_length();
        let url = Url::parse(&parts.uri.to_string()).map_err(|error| {
            failed(TransportError { fault: TransportFault::Connect, text: error.to_string() })
        })?;
        // Only a range of an object may be long: whoever asks for one knows its length.
        let is_range = parts.method == reqwest::Method::GET && parts.headers.contains_key("range");
        let bytes_max = if is_range { u64::MAX } else { ANSWER_BYTES_MAX };
        let client = service.client(&url)?;
        let mut builder = client.request(parts.method.clone(), url).headers(parts.headers.clone());
        if is_hint_or_entry(parts.uri.path()) && !parts.headers.contains_key("authorization") {
            // A cache on the way may keep an old hint, or that a newer entry does not exist.
            builder = builder.header("cache-control", "no-cache");
        }
        let progress = LastProgress::new();
        if length > 0 || !parts.method.is_safe() {
            if !parts.headers.contains_key("content-length") {
                builder = builder.header("content-length", length);
            }
            builder = builder.body(service.body(body, &progress));
        }
        service.traffic.request();
        let response = tokio::select! {
            response = builder.send() => response.map_err(|error| failed(broken(&error)))?,
            () = progress.stalled(service.stall) => return Err(service.stalled()),
        };
        if !response.status().is_success() {
            return Err(service.refused(response).await);
        }
        let mut out = HttpResponse::new(HttpResponseBody::from(Vec::new()));
        *out.status_mut() = response.status();
        *out.headers_mut() = response.headers().clone();
        let frames = service.received(response, bytes_max).map(|piece| piece.map(Frame::data));
        *out.body_mut() = HttpResponseBody::new(StreamBody::new(SyncStream::new(frames)));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_known_by_its_address_in_every_form() {
        let is_near = |url: &str| is_near(&Url::parse(url).unwrap());
        for near in [
            "http://127.0.0.1:9/a",
            "http://127.1",
            "http://0x7f000001",
            "http://127.200.3.4",
            "http://0.0.0.0:9000",
            "http://[::1]:9",
            "http://[::ffff:127.0.0.1]",
            "http://[fe80::1]",
            "http://LOCALHOST:9",
            "http://localhost.:9",
            "https://bucket.localhost",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in
            ["https://host", "http://10.0.0.1", "https://localhost.example", "https://[2001::1]"]
        {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn a_pace_is_that_of_the_last_window() {
        let second = Duration::from_secs(1);
        let slow = |bytes| {
            let mut pace = Pace::default();
            (0..30).all(|_| pace.note(bytes, second, 10 * second))
        };
        assert!(slow(256) && !slow(255) && !slow(1));
        // What came fast before does not count for what comes slowly now.
        let mut pace = Pace::default();
        assert!(pace.note(1 << 30, 10 * second, 10 * second));
        assert!((0..9).all(|_| pace.note(1, second, 10 * second)));
        assert!(!pace.note(1, second, 10 * second));
        // Time in which nothing was waited for does not count.
        assert!((0..1000).all(|_| Pace::default().note(1, Duration::ZERO, second)));
    }

    #[test]
    fn caches_are_bypassed_for_what_says_that_something_is_new() {
        for (path, is_one) in [
            ("/www/index/latest", true),
            ("/refs/latest", true),
            ("/www/refs/main/latest", true),
            ("/www/refs/main/fffffffffffffffe", true),
            ("/www/format", false),
            ("/www/packs/ab/latest.pack", false),
            ("/latest/index/00-0000000000000001-00000000000000000000000000000000.idx", false),
        ] {
            assert_eq!(is_hint_or_entry(path), is_one, "{path}");
        }
    }
}
