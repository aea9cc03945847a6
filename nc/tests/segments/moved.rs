//! An address that goes on to another port.

use super::guarded::{Guest, guest_name, must, runs_elsewhere};
use super::told::member_at;
use super::{A, change_of, tell, two_hosts};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[test]
fn who_knew_an_address_of_another_port_hears_where_it_is_now() {
    if runs_elsewhere("moved::who_knew_an_address_of_another_port_hears_where_it_is_now") {
        return;
    }
    let (mut one, mut two) = two_hosts();
    tell([&mut one, &mut two], true);
    for node in [&mut one, &mut two] {
        node.tell(&[member_at("node2", A, 8, &[1])]);
    }
    let _five = Guest::start_on(&mut one, A, 5);
    let _six = Guest::start_on(&mut two, A, 6);
    let mut neighbours = [Guest::start_on(&mut one, A, 7), Guest::start_on(&mut two, A, 8)];
    let moves = Ipv4Addr::new(172, 31, 0, 55);
    for number in [5, 6] {
        must(&format!("ip -n {} address add {moves}/20 dev eth0", guest_name(A, number)));
    }
    // What they have heard they believe for half an hour, and the next word at once.
    for number in [7, 8] {
        must(&format!(
            "ip netns exec {} sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=3600000 \
             net.ipv4.neigh.eth0.locktime=0",
            guest_name(A, number)
        ));
    }
    change_of(5, &mut one, &[moves], false);
    for guest in &mut neighbours {
        guest.ping(moves, true);
    }
    let knows = |number, whose| {
        let known = must(&format!("ip -n {} neigh show {moves} dev eth0", guest_name(A, number)));
        known.contains(&format!("02:00:00:00:00:{whose:02x}"))
    };
    for number in [7, 8] {
        assert!(knows(number, 5));
    }
    change_of(5, &mut one, &[], false);
    change_of(6, &mut two, &[moves], false);
    for (number, guest) in [7, 8].into_iter().zip(&mut neighbours) {
        let asked = Instant::now();
        while !knows(number, 6) {
            assert!(asked.elapsed() < Duration::from_secs(5), "guest {number} heard nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        guest.ping(moves, true);
    }
}
