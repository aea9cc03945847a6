//! Security groups as tests make them.

use super::{Answer, Client};

/// Ssh from anywhere: a rule by itself.
pub const OPEN: [(&str, &str); 4] =
    [("IpProtocol", "tcp"), ("FromPort", "22"), ("ToPort", "22"), ("CidrIp", "0.0.0.0/0")];

pub async fn made(client: &Client, name: &str) -> String {
    let words = [("GroupName", name), ("GroupDescription", "made by a test")];
    client.ec2("CreateSecurityGroup", &words).await.ok().one("groupId")
}

/// One permission in a list; `peer` is its parameter and value.
pub async fn authorized(client: &Client, group: &str, traffic: [&str; 3], peer: (&str, &str)) -> Answer {
    let peer_name = format!("IpPermissions.1.{}", peer.0);
    let mut words =
        vec![("GroupId", group), ("IpPermissions.1.IpProtocol", traffic[0]), (peer_name.as_str(), peer.1)];
    for (name, value) in [("IpPermissions.1.FromPort", traffic[1]), ("IpPermissions.1.ToPort", traffic[2])] {
        if !value.is_empty() {
            words.push((name, value));
        }
    }
    client.ec2("AuthorizeSecurityGroupIngress", &words).await
}
