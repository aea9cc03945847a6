//! Which room may know which part of the outside world (docs/adr/0004, ARCHITECTURE.md).

use super::Problem;
use super::lexer::{line_of, views, words};
use super::tree::Tree;

const CONTROLLERS: [&str; 4] = ["clc", "cc", "nc", "walrus"];

struct World {
    /// The crate's name in code.
    name: &'static str,
    /// Below a controller's `src/`: beginnings of paths; `drive/*/x` is x anywhere in that room.
    rooms: &'static [&'static str],
}

const WORLDS: &[World] = &[
    World { name: "axum", rooms: &["api/", "api.rs", "lib.rs", "main.rs", "start.rs"] },
    World { name: "sqlx", rooms: &["store/", "store.rs"] },
    World { name: "virt", rooms: &["drive/*/libvirt"] },
    World { name: "rtnetlink", rooms: &["drive/*/netlink"] },
    World { name: "karri_net", rooms: &["drive/"] },
    World { name: "iptables", rooms: &["drive/"] },
    World { name: "netlink_sys", rooms: &["drive/"] },
];

pub fn outside_worlds(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.rust() {
        let Some((controller, below)) = path.split_once("/src/") else { continue };
        if !CONTROLLERS.contains(&controller) {
            continue;
        }
        let code = views(text).code;
        for world in WORLDS.iter().filter(|world| !world.rooms.iter().any(|room| is_in(below, room))) {
            if let Some(at) = words(&code, world.name).find(|at| is_crate(&code, *at, world.name)) {
                let (name, rooms) = (world.name, world.rooms.join(", "));
                let what = format!(
                    "knows {name}, which only {controller}/src/{{{rooms}}} may: hide it behind a trait or a function there"
                );
                problems.push(Problem::new(path, line_of(&code, at), what));
            }
        }
    }
    problems
}

fn is_in(path: &str, room: &str) -> bool {
    match room.split_once("*/") {
        None => path.starts_with(room),
        Some((room, name)) => path
            .strip_prefix(room)
            .is_some_and(|rest| rest.starts_with(name) || rest.contains(&format!("/{name}"))),
    }
}

/// `name::…` or `use name`; not a variable or a module that happens to be called so.
fn is_crate(code: &str, at: usize, name: &str) -> bool {
    let (before, after) = (code[..at].trim_end(), &code[at + name.len()..]);
    let inner = before.ends_with("::") || before.ends_with('.');
    !inner && (after.starts_with("::") || before.ends_with("use"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;
    use super::*;

    #[test]
    fn each_world_has_its_rooms() {
        let good = [
            ("clc/src/api/blobs.rs", "use axum::Router;"),
            ("clc/src/lib.rs", "fn f(r: axum::Router) {}"),
            ("cc/src/store/node.rs", "sqlx::query(x);"),
            ("nc/src/drive/libvirt/domain.rs", "use virt::connect::Connect;"),
            ("nc/src/drive/hypervisor/libvirt/events.rs", "use virt::sys;"),
            ("nc/src/start.rs", "use axum::Router;"),
            ("nc/src/drive/libvirt.rs", "use virt::connect::Connect;"),
            ("cc/src/drive/netlink.rs", "use rtnetlink::Handle;"),
            ("cc/src/drive/firewall.rs", "use iptables::IPTables;"),
            ("proto/src/internal/story.rs", "use axum::Router;"),
            ("cc/src/app/x.rs", "// sqlx::query\nlet s = \"axum::x\"; crate::drive::iptables::restore();"),
        ];
        assert_eq!(problems(outside_worlds, &good), Vec::<String>::new());
    }

    #[test]
    fn a_world_outside_its_room_is_told() {
        for (path, text, world) in [
            ("clc/src/app/x.rs", "//! D.\nuse axum::Json;", "axum"),
            ("clc/src/api/x.rs", "//! D.\nsqlx::query(x);", "sqlx"),
            ("nc/src/reconcile/x.rs", "//! D.\nuse virt;", "virt"),
            ("nc/src/drive/simulated.rs", "//! D.\nuse virt::domain;", "virt"),
            ("nc/src/drive/hypervisor/mod.rs", "//! D.\nuse virt::domain;", "virt"),
            ("cc/src/drive/bridge.rs", "//! D.\nrtnetlink::new_connection()", "rtnetlink"),
            ("walrus/src/store/x.rs", "//! D.\nuse {iptables::IPTables};", "iptables"),
        ] {
            let told = problems(outside_worlds, &[(path, text)]);
            assert_eq!(told.len(), 1, "{path}");
            assert!(told[0].starts_with(&format!("{path}:2: knows {world}")), "{told:?}");
        }
    }
}
