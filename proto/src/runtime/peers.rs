//! How many connections each address has, so that one alone cannot have all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub struct Peers {
    each_max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection of an address, until it is dropped.
#[derive(Debug)]
pub struct Place {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Peers {
    pub fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Self { each_max, counts: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing when the address has as many as it may.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_so_many_whatever_others_have() {
        let peers = Peers::new(2);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let held = [peers.admit(one).unwrap(), peers.admit(one).unwrap()];
        assert!(peers.admit(one).is_none());
        let _other = peers.admit(two).unwrap();
        drop(held);
        assert!(peers.admit(one).is_some());
        assert_eq!(peers.lock().len(), 1, "who has none is forgotten");
    }
}
