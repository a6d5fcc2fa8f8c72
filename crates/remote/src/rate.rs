//! A limit of bytes a second: a token bucket.

use freestone_core::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The bytes of this time may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// Limits the bytes a second of all its users together.
#[derive(Debug)]
pub(crate) struct RateLimit {
    bytes_per_second: f64,
    /// When the bytes that were admitted so far have taken their time.
    paid_until: Mutex<Instant>,
}

impl RateLimit {
    /// Allows `bytes_per_second`, at least one.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "inexact above 2^53 bytes a second")]
        let bytes_per_second = bytes_per_second.max(1) as f64;
        Self { bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    /// Admits `bytes`, and returns how long to wait before they may be sent.
    fn reserve(&self, bytes: usize, now: Instant) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "inexact above 2^53 bytes")]
        let cost = Duration::from_secs_f64((bytes as f64 / self.bytes_per_second).min(86_400.0));
        let mut paid = lock(&self.paid_until);
        let start = now.checked_sub(BURST).map_or(*paid, |earliest| earliest.max(*paid));
        *paid = start + cost;
        paid.saturating_duration_since(now)
    }

    /// Waits until `bytes` may be sent.
    pub(crate) async fn wait_for(&self, bytes: usize) {
        let wait = self.reserve(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_whatever_is_asked_for_and_a_pause_earns_a_burst_only() {
        let rate = RateLimit::new(1000);
        let begun = Instant::now() + Duration::from_secs(1);
        let mut waited = Duration::ZERO;
        for bytes in [100, 900, 1, 999, 2000] {
            waited = rate.reserve(bytes, begun);
        }
        // 4000 bytes at 1000 a second, less what a pause earns.
        assert_eq!(waited, Duration::from_secs(4) - BURST);
        let later = begun + Duration::from_secs(100);
        assert_eq!(rate.reserve(1000, later), Duration::from_secs(1) - BURST);
    }
}
