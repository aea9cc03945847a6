//! Holds work in the background to so many bytes a second, piece by piece.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Pace {
    /// None: as fast as it goes.
    bytes_per_sec: Option<u64>,
    began: Instant,
    bytes: u64,
}

impl Pace {
    pub fn of(bytes_per_sec: u64) -> Self {
        Self { bytes_per_sec: Some(bytes_per_sec.max(1)), began: Instant::now(), bytes: 0 }
    }

    pub fn unlimited() -> Self {
        Self { bytes_per_sec: None, began: Instant::now(), bytes: 0 }
    }

    /// Since it was begun.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// After so many bytes. Lets others have their turn in any case.
    pub async fn spent(&mut self, bytes: u64) {
        self.bytes += bytes;
        let due = self.bytes_per_sec.map(|rate| Duration::from_secs_f64(self.bytes as f64 / rate as f64));
        match due.and_then(|due| due.checked_sub(self.began.elapsed())) {
            Some(rest) => tokio::time::sleep(rest).await,
            None => tokio::task::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_spent_too_fast_is_waited_for() {
        let mut pace = Pace::of(10_000);
        for _ in 0..4 {
            pace.spent(500).await;
        }
        assert!(pace.began.elapsed() >= Duration::from_millis(200));
        assert_eq!(pace.bytes(), 2000);
        let mut pace = Pace::unlimited();
        tokio::time::timeout(Duration::from_secs(60), pace.spent(u64::MAX)).await.unwrap();
    }
}
