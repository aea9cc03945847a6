//! Which instance has which ports: one that it has no more is gone, unless another instance has it meanwhile.

use karri_proto::ids::{InstanceId, NetworkInterfaceId};
use std::collections::{HashMap, HashSet};

#[derive(Debug, Default)]
pub struct Held {
    ports: HashMap<InstanceId, HashSet<NetworkInterfaceId>>,
    holders: HashMap<NetworkInterfaceId, InstanceId>,
}

impl Held {
    /// The instance has these from now on. Returns those that nobody has any more. In whatever order two instances are
    /// heard of between which a port has moved, it is the newer one's: the older one's news are without it.
    pub fn now<'a>(
        &mut self,
        instance: &InstanceId,
        ports: impl Iterator<Item = &'a NetworkInterfaceId>,
    ) -> Vec<NetworkInterfaceId> {
        let ports: HashSet<NetworkInterfaceId> = ports.cloned().collect();
        for port in &ports {
            self.holders.insert(port.clone(), instance.clone());
        }
        let before = match ports.is_empty() {
            true => self.ports.remove(instance),
            false => self.ports.insert(instance.clone(), ports.clone()),
        };
        let left = before.into_iter().flatten().filter(|port| !ports.contains(port));
        let gone: Vec<NetworkInterfaceId> =
            left.filter(|port| self.holders.get(port) == Some(instance)).collect();
        gone.iter().for_each(|port| _ = self.holders.remove(port));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_moved_is_not_gone() {
        let (one, two): (InstanceId, InstanceId) =
            ("i-00000001".parse().unwrap(), "i-00000002".parse().unwrap());
        let ports: Vec<NetworkInterfaceId> =
            ["eni-00000001", "eni-00000002"].iter().map(|id| id.parse().unwrap()).collect();
        let none = Vec::<NetworkInterfaceId>::new();
        let mut held = Held::default();
        assert_eq!(held.now(&one, ports.iter()), none);
        assert_eq!(held.now(&two, ports[1..].iter()), none, "heard of before the other lost it");
        assert_eq!(held.now(&one, ports[..1].iter()), none);
        assert_eq!(held.now(&two, [].into_iter()), ports[1..]);
        assert_eq!(held.now(&one, [].into_iter()), ports[..1]);
        assert_eq!(held.now(&one, [].into_iter()), none, "once");
    }
}
