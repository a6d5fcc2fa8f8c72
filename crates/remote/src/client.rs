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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sync_wrapper::SyncStream;

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are sent between two checks of the rate limit and the clock.
const PIECE_BYTES: usize = 64 << 10;
/// The longest body that is read of an answer that is not a success.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;

/// A server's answer that is not a success.
#[derive(Clone, Debug)]
pub(crate) struct ErrorResponse {
    /// The HTTP status.
    pub(crate) status: u16,
    /// S3's own code, such as `NoSuchBucket`; may be empty.
    pub(crate) code: String,
    /// S3's message for people; may be empty.
    pub(crate) message: String,
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
        let client = reqwest::Client::builder()
            .user_agent(concat!("freestone/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(options.requests_max)
            .tcp_nodelay(true)
            .http1_only()
            .build()
            .map_err(|error| {
                let TransportError { text, .. } = broken(&error);
                Error::new(ErrorKind::Storage, format!("no HTTPS on this machine: {text}"))
                    .hint(trust::hint_without_authorities())
            })?;
        let rate = || options.rate_limit.map(|rate| Arc::new(RateLimit::new(rate)));
        Ok(Self(Arc::new(Transport {
            client,
            traffic: options.traffic.clone(),
            stall: options.stall,
            up: rate(),
            down: rate(),
        })))
    }
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

impl Transport {
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

    /// Streams a response's body, each piece read when the rate limit allows it.
    fn received(
        self: &Arc<Self>,
        response: reqwest::Response,
    ) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static {
        let service = self.clone();
        stream::unfold(Some(response), move |response| {
            let service = service.clone();
            async move {
                let mut response = response?;
                match tokio::time::timeout(service.stall, response.chunk()).await {
                    Ok(Ok(Some(bytes))) => {
                        service.traffic.received(bytes.len());
                        if let Some(rate) = &service.down {
                            rate.wait_for(bytes.len()).await;
                        }
                        Some((Ok(bytes), Some(response)))
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
        let mut stream = Box::pin(self.received(response));
        while let Some(Ok(bytes)) = stream.next().await {
            body.extend_from_slice(&bytes);
            if body.len() > ERROR_BODY_BYTES_MAX {
                break;
            }
        }
        let text = String::from_utf8_lossy(&body);
        let field = |name| element(&text, name).unwrap_or_default();
        let answer = ErrorResponse { status, code: field("Code"), message: field("Message") };
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
        let url = parts.uri.to_string();
        let mut builder =
            service.client.request(parts.method.clone(), &url).headers(parts.headers.clone());
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
        let frames = service.received(response).map(|piece| piece.map(Frame::data));
        *out.body_mut() = HttpResponseBody::new(StreamBody::new(SyncStream::new(frames)));
        Ok(out)
    }
}
