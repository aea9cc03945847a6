//! What is in kernels: the node of a port is asked, the router of a subnet is looked at.

use crate::cloud::{Cloud, caller, until};
use crate::routers::{TAG, told_of};
use crate::samples::{intent, next};
use karri_proto::instance::Desired;
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::kernel::{KernelAbout, KernelPart, KernelService};

#[tokio::test]
async fn ports_are_asked_of_their_nodes_and_subnets_of_the_host() {
    let mut cloud = Cloud::start().await;
    let (clc, mut node) = (cloud.clc(), cloud.node("node-1", 8).await);
    let mut inside = intent(1);
    inside.spec.ports[0].segment = TAG;
    let (port, subnet) = (inside.spec.ports[0].id.clone(), inside.spec.ports[0].subnet_id.clone());
    let (port, subnet) = (KernelAbout::Port(port), KernelAbout::Subnet(subnet));
    let seen = async |about: &KernelAbout| clc.client.kernel(&caller("show"), about).await.unwrap();
    let differs =
        |parts: &[KernelPart]| parts.iter().flat_map(|part| part.look.differs.clone()).collect::<Vec<_>>();
    assert_eq!((seen(&port).await, seen(&subnet).await), (Vec::new(), Vec::new()), "nobody has told of them");

    told_of(&clc, &inside).await;
    clc.put(&inside).await;
    until("the port on its node", async || {
        !seen(&port).await.is_empty() && differs(&seen(&port).await).is_empty()
    })
    .await;
    let [part] = &seen(&port).await[..] else { panic!("one node has it") };
    assert_eq!((part.who.as_str(), part.look.lines[0].packets), ("nc node-1", Some(7)));
    until("the router", async || !seen(&subnet).await.is_empty() && differs(&seen(&subnet).await).is_empty())
        .await;
    let [part] = &seen(&subnet).await[..] else { panic!("one host has it") };
    assert_eq!(part.who, "cc zone-a");
    let chain = format!("simulated: iptables mangle s{TAG:x}-from");
    assert!(part.look.lines.iter().any(|line| line.place == chain), "{:?}", part.look.lines);

    // What differs is said, and so is that nobody can look.
    cloud.network.forget();
    assert_eq!(differs(&seen(&subnet).await), ["the rules are not those that are wanted"]);
    cloud.network.fail(true);
    assert_eq!(differs(&seen(&subnet).await), ["nobody has looked: iptables-save: told to fail"]);
    cloud.network.fail(false);
    node.die();
    let parts = seen(&port).await;
    assert!(differs(&parts)[0].starts_with("nobody has looked: "), "{parts:?}");
    assert_eq!(parts[0].who, "nc node-1");
    node.come_back().await;
    node.lose_everything();
    until("the node has no such port, or has it again", async || {
        let parts = seen(&port).await;
        differs(&parts).is_empty() || differs(&parts) == ["nobody has looked: it has no such port"]
    })
    .await;
    clc.put(&next(&inside, Desired::Terminated)).await;
    until("the port is nobody's", async || seen(&port).await.is_empty()).await;

    for (role, cluster, name) in [(Role::Nc, "zone-a", "node-1"), (Role::Admin, "", "operator")] {
        let refused = cloud.client(role, cluster, name).kernel(&caller("show"), &port).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden, "{name}");
    }
    cloud.stop_cc().await;
}
