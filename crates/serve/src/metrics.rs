//! The metrics of a server, and their text for Prometheus.
//!
//! The text is in the *exposition format*, version 0.0.4. Names end in their unit, and those of
//! sums in `_total`.

use freestone_core::lock;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A counter, which only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        if amount > 0 {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of a histogram's buckets in microseconds.
const BOUNDS_US: [u64; 14] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000,
];

/// A histogram of durations.
#[derive(Default)]
pub struct Histogram {
    /// One more than there are bounds: the last is for durations above all of them.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one `duration`.
    pub fn add(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

/// The metrics of one protocol.
#[derive(Default)]
pub struct ProtocolMetrics {
    /// The connections that were accepted.
    pub connections: Counter,
    /// The connections that are open.
    pub open: AtomicU64,
    /// The connections that were closed because there were too many, or because the client broke
    /// the protocol or its time limits.
    pub refused: Counter,
    /// The requests that were answered.
    pub requests: Counter,
    /// The requests that were answered with an error.
    pub failures: Counter,
    /// The bytes of images and files that were sent.
    pub sent_bytes: Counter,
    /// The durations from a request's arrival to its answer.
    pub latency: Histogram,
}

impl ProtocolMetrics {
    /// Counts a request that arrived at `begun` and is answered now, with an error if `failed`.
    pub fn answered(&self, begun: Instant, failed: bool) {
        self.requests.add(1);
        self.failures.add(failed.into());
        self.latency.add(begun.elapsed());
    }
}

/// The metrics of a server.
#[derive(Default)]
pub struct Metrics {
    /// The metrics of NBD.
    pub nbd: ProtocolMetrics,
    /// The metrics of HTTP.
    pub http: ProtocolMetrics,
    /// The metrics of requests for the metrics.
    pub scrapes: ProtocolMetrics,
    /// The chunks that were found in the cache, decoded.
    pub cache_hits: Counter,
    /// The chunks that had to be read and proven.
    pub cache_misses: Counter,
    /// The bytes that were hashed against their ids.
    pub proven_bytes: Counter,
    /// The reads that failed.
    pub read_failures: Counter,
    /// The served names, each with its revision.
    served: Mutex<Vec<(String, String)>>,
}

impl Metrics {
    /// Replaces the served names, each with its revision.
    pub fn set_served(&self, served: Vec<(String, String)>) {
        *lock(&self.served) = served;
    }

    /// Returns all metrics as text for Prometheus; `cached_bytes` is the size of the cache now.
    pub fn text(&self, cached_bytes: u64) -> String {
        let mut text = Text(String::new());
        let protocols = [("nbd", &self.nbd), ("http", &self.http), ("metrics", &self.scrapes)];
        type Read = fn(&ProtocolMetrics) -> u64;
        let rows: [(&str, &str, &str, Read); 6] = [
            ("connections_total", "counter", "Connections accepted.", |m| m.connections.get()),
            ("connections_open", "gauge", "Connections open.", |m| m.open.load(Ordering::Relaxed)),
            ("connections_refused_total", "counter", "Connections refused or cut off.", |m| {
                m.refused.get()
            }),
            ("requests_total", "counter", "Requests answered.", |m| m.requests.get()),
            ("request_failures_total", "counter", "Requests answered with an error.", |m| {
                m.failures.get()
            }),
            ("sent_bytes_total", "counter", "Bytes of images and files sent.", |m| {
                m.sent_bytes.get()
            }),
        ];
        for (name, kind, help, read) in rows {
            text.head(name, kind, help);
            for (protocol, metrics) in protocols {
                text.row(name, &format!("protocol=\"{protocol}\""), read(metrics));
            }
        }
        text.latency(&protocols);
        for (name, kind, help, value) in [
            ("cache_hits_total", "counter", "Chunks found decoded.", self.cache_hits.get()),
            ("cache_misses_total", "counter", "Chunks read and proven.", self.cache_misses.get()),
            ("cache_bytes", "gauge", "Bytes of decoded chunks kept.", cached_bytes),
            ("proven_bytes_total", "counter", "Bytes hashed against ids.", self.proven_bytes.get()),
            ("read_failures_total", "counter", "Reads that failed.", self.read_failures.get()),
        ] {
            text.head(name, kind, help);
            text.row(name, "", value);
        }
        text.head("served_info", "gauge", "What is served, and of which revision.");
        for (name, revision) in lock(&self.served).iter() {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            text.row("served_info", &format!("name=\"{name}\",revision=\"{revision}\""), 1);
        }
        text.0
    }
}

/// A text in the exposition format.
struct Text(String);

impl Text {
    /// Adds the description of a metric.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP freestone_{name} {help}");
        let _ = writeln!(self.0, "# TYPE freestone_{name} {kind}");
    }

    /// Adds a value of a metric.
    fn row(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "freestone_{name} {value}"),
            _ => writeln!(self.0, "freestone_{name}{{{labels}}} {value}"),
        };
    }

    /// Adds the histograms of latencies.
    fn latency(&mut self, protocols: &[(&str, &ProtocolMetrics)]) {
        let name = "request_duration_seconds";
        self.head(name, "histogram", "From a request's arrival to its answer.");
        for (protocol, metrics) in protocols {
            let mut count = 0;
            let bounds =
                BOUNDS_US.iter().map(|us| format!("{}", Duration::from_micros(*us).as_secs_f64()));
            for (bucket, bound) in
                metrics.latency.buckets.iter().zip(bounds.chain(["+Inf".to_owned()]))
            {
                count += bucket.load(Ordering::Relaxed);
                let labels = format!("protocol=\"{protocol}\",le=\"{bound}\"");
                self.row(&format!("{name}_bucket"), &labels, count);
            }
            let labels = format!("protocol=\"{protocol}\"");
            let sum = Duration::from_nanos(metrics.latency.sum_ns.load(Ordering::Relaxed));
            self.row(&format!("{name}_sum"), &labels, sum.as_secs_f64());
            self.row(&format!("{name}_count"), &labels, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_cumulative_buckets_and_escaped_names() {
        let metrics = Metrics::default();
        metrics.nbd.latency.add(Duration::from_micros(10));
        metrics.nbd.latency.add(Duration::from_micros(11));
        metrics.nbd.latency.add(Duration::from_secs(60));
        metrics.http.requests.add(7);
        metrics.set_served(vec![("a\"b".into(), "12".into())]);
        let text = metrics.text(5);
        for line in [
            "freestone_request_duration_seconds_bucket{protocol=\"nbd\",le=\"0.00001\"} 1",
            "freestone_request_duration_seconds_bucket{protocol=\"nbd\",le=\"0.000025\"} 2",
            "freestone_request_duration_seconds_bucket{protocol=\"nbd\",le=\"10\"} 2",
            "freestone_request_duration_seconds_bucket{protocol=\"nbd\",le=\"+Inf\"} 3",
            "freestone_request_duration_seconds_count{protocol=\"nbd\"} 3",
            "freestone_requests_total{protocol=\"http\"} 7",
            "freestone_cache_bytes 5",
            "freestone_served_info{name=\"a\\\"b\",revision=\"12\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
