//! Which node a new instance goes to. One pure function: another policy is one more arm.

use karri_proto::resources::Need;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The first node, by name, that has room: fills one after the other.
    FirstFit,
    /// The node that keeps the greatest share of its scarcest resource free.
    #[default]
    LeastLoaded,
}

/// A node that may take the instance.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub name: &'a str,
    pub total: Need,
    pub free: Need,
}

/// `None`: there is room on none of them. Ties go to the first in the order given.
pub fn choose<'a>(
    policy: Policy,
    need: Need,
    nodes: impl IntoIterator<Item = Candidate<'a>>,
) -> Option<&'a str> {
    let mut roomy = nodes.into_iter().filter(|node| need.fits(node.free));
    let chosen = match policy {
        Policy::FirstFit => roomy.next(),
        Policy::LeastLoaded => roomy.reduce(|best, node| {
            let more = free_share(node.free - need, node.total) > free_share(best.free - need, best.total);
            if more { node } else { best }
        }),
    };
    chosen.map(|node| node.name)
}

/// How much of the scarcest resource is free, in millionths.
fn free_share(free: Need, total: Need) -> u64 {
    let share = |free: u64, total: u64| free.saturating_mul(1_000_000).checked_div(total).unwrap_or(0);
    share(u64::from(free.vcpus), u64::from(total.vcpus))
        .min(share(free.memory_mib, total.memory_mib))
        .min(share(free.disk_gib, total.disk_gib))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn need(vcpus: u32, memory_mib: u64, disk_gib: u64) -> Need {
        Need { vcpus, memory_mib, disk_gib }
    }

    fn node(name: &'static str, free: Need) -> Candidate<'static> {
        Candidate { name, total: need(8, 8000, 80), free }
    }

    #[test]
    fn first_fit_takes_the_first_with_room() {
        let nodes = [node("a", need(1, 100, 1)), node("b", need(4, 4000, 40)), node("c", need(8, 8000, 80))];
        assert_eq!(choose(Policy::FirstFit, need(2, 1000, 10), nodes), Some("b"));
    }

    #[test]
    fn least_loaded_looks_at_the_scarcest_resource() {
        let nodes = [node("a", need(8, 2000, 80)), node("b", need(4, 4000, 40)), node("c", need(8, 8000, 5))];
        assert_eq!(choose(Policy::LeastLoaded, need(1, 1000, 4), nodes), Some("b"));
    }

    #[test]
    fn no_node_has_room() {
        assert_eq!(choose(Policy::LeastLoaded, need(9, 1, 1), [node("a", need(8, 8000, 80))]), None);
        assert_eq!(choose(Policy::FirstFit, need(1, 1, 1), []), None);
    }

    fn needs() -> impl Strategy<Value = Need> {
        (0u32..20, 0u64..20_000, 0u64..200).prop_map(|(v, m, d)| need(v, m, d))
    }

    proptest! {
        #[test]
        fn a_choice_always_has_room_and_none_is_given_only_when_none_has(
            want in needs(),
            free in proptest::collection::vec(needs(), 0..20),
        ) {
            let names: Vec<String> = (0..free.len()).map(|i| format!("n{i}")).collect();
            let nodes: Vec<Candidate<'_>> = names.iter().zip(&free)
                .map(|(name, free)| Candidate { name, total: need(20, 20_000, 200), free: *free }).collect();
            for policy in [Policy::FirstFit, Policy::LeastLoaded] {
                match choose(policy, want, nodes.iter().copied()) {
                    Some(name) => {
                        let chosen = nodes.iter().find(|n| n.name == name).unwrap();
                        prop_assert!(want.fits(chosen.free));
                    }
                    None => prop_assert!(free.iter().all(|free| !want.fits(*free))),
                }
            }
        }
    }
}
