//! Rules of security groups: their one form, and what is refused.

use crate::support::Cloud;
use crate::support::groups::{OPEN, authorized, made};

on_both! {
    rules_are_kept_in_one_form
    wrong_words_are_refused
    a_rule_exists_once
    rules_are_taken_by_id_and_by_what_they_say
    rules_are_replaced_and_described
}

async fn rules_are_kept_in_one_form(cloud: Cloud) {
    let alice = cloud.owner().await;
    let group = made(&alice, "forms").await;
    let other = made(&alice, "other").await;
    let cidr4 = "IpRanges.1.CidrIp";
    for (traffic, peer, told) in [
        (["6", "443", "443"], (cidr4, "10.1.2.3/8"), ("tcp", "443", "443", "cidrIpv4", "10.0.0.0/8")),
        (["UDP", "0", "65535"], (cidr4, "1.2.3.4/32"), ("udp", "0", "65535", "cidrIpv4", "1.2.3.4/32")),
        (["icmp", "8", "-1"], (cidr4, "0.0.0.0/0"), ("icmp", "8", "-1", "cidrIpv4", "0.0.0.0/0")),
        (["1", "", ""], (cidr4, "10.0.0.0/9"), ("icmp", "-1", "-1", "cidrIpv4", "10.0.0.0/9")),
        (["-1", "22", "23"], (cidr4, "10.0.0.0/10"), ("-1", "-1", "-1", "cidrIpv4", "10.0.0.0/10")),
        (["50", "", ""], (cidr4, "10.0.0.0/11"), ("50", "-1", "-1", "cidrIpv4", "10.0.0.0/11")),
        (
            ["58", "-1", "-1"],
            ("Ipv6Ranges.1.CidrIpv6", "2001:DB8:0::1/32"),
            ("icmpv6", "-1", "-1", "cidrIpv6", "2001:db8::/32"),
        ),
        (["tcp", "1", "2"], ("Groups.1.GroupId", &other), ("tcp", "1", "2", "groupId", &other)),
        (["tcp", "3", "4"], ("Groups.1.GroupName", "other"), ("tcp", "3", "4", "groupId", &other)),
    ] {
        let answer = authorized(&alice, &group, traffic, peer).await.ok();
        assert_eq!(answer.one("ipProtocol"), told.0, "{traffic:?}");
        assert_eq!((answer.one("fromPort"), answer.one("toPort")), (told.1.into(), told.2.into()));
        assert!(answer.all(told.3).contains(&told.4.to_owned()), "{}", answer.text);
        let id = answer.one("securityGroupRuleId");
        let by_id = [("SecurityGroupRuleId.1", id.as_str())];
        let read = alice.ec2("DescribeSecurityGroupRules", &by_id).await.ok();
        assert!(read.all(told.3).contains(&told.4.to_owned()), "{}", read.text);
    }
    let shown = alice.ec2("DescribeSecurityGroups", &[("GroupId.1", &group)]).await.ok();
    assert_eq!(shown.all("cidrIpv6"), ["2001:db8::/32"]);
    assert_eq!(shown.all("ipProtocol").iter().filter(|protocol| *protocol == "-1").count(), 2);
}

async fn wrong_words_are_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    let group = made(&alice, "wrong").await;
    let before = alice.ec2("DescribeSecurityGroupRules", &[]).await.ok().all("securityGroupRuleId");
    let cidr = ("IpRanges.1.CidrIp", "10.0.0.0/8");
    for (traffic, peer, code, message) in [
        (["tcp", "80", "22"], cidr, "InvalidParameterValue", "Invalid TCP port range: 80 to 22."),
        (["tcp", "-1", "-1"], cidr, "InvalidParameterValue", "Invalid TCP port range"),
        (["udp", "1", "65536"], cidr, "InvalidParameterValue", "Invalid UDP port range"),
        (["tcp", "22", ""], cidr, "InvalidParameterValue", "Must specify both from and to ports"),
        (
            ["xyz", "1", "1"],
            cidr,
            "InvalidParameterValue",
            "Invalid value 'xyz' for IP protocol. Unknown protocol.",
        ),
        (["icmp", "-1", "5"], cidr, "InvalidParameterValue", "ICMP code"),
        (
            ["tcp", "1", "1"],
            ("IpRanges.1.CidrIp", "10.0.0.0/33"),
            "InvalidParameterValue",
            "CIDR block 10.0.0.0/33 is malformed",
        ),
        (
            ["tcp", "1", "1"],
            ("IpRanges.1.CidrIp", "10.0.0.1"),
            "InvalidParameterValue",
            "CIDR block 10.0.0.1 is malformed",
        ),
        (
            ["tcp", "1", "1"],
            ("Ipv6Ranges.1.CidrIpv6", "::/129"),
            "InvalidParameterValue",
            "CIDR block ::/129 is malformed",
        ),
        (
            ["tcp", "1", "1"],
            ("Groups.1.GroupId", "sg-0123456789abcdef0"),
            "InvalidGroup.NotFound",
            "'sg-0123456789abcdef0'",
        ),
        (["tcp", "1", "1"], ("Groups.1.GroupId", "nonsense"), "InvalidGroupId.Malformed", "nonsense"),
        (["tcp", "1", "1"], ("Groups.1.GroupName", "nowhere"), "InvalidGroup.NotFound", "'nowhere'"),
        (
            ["tcp", "1", "1"],
            ("PrefixListIds.1.PrefixListId", "pl-0123456789abcdef0"),
            "InvalidPrefixListID.NotFound",
            "The prefix list ID 'pl-0123456789abcdef0' does not exist",
        ),
        (
            ["tcp", "1", "1"],
            ("PrefixListIds.1.PrefixListId", "pl-1"),
            "InvalidPrefixListID.Malformed",
            "pl-1",
        ),
    ] {
        let answer = authorized(&alice, &group, traffic, peer).await;
        let answer = answer.refused(400, code);
        assert!(answer.one("Message").contains(message), "{}", answer.text);
    }
    let group = ("GroupId", group.as_str());
    for (words, code) in [
        (vec![group], "MissingParameter"),
        (vec![], "MissingParameter"),
        (vec![group, ("GroupName", "wrong"), OPEN[0]], "InvalidParameterCombination"),
        (vec![group, ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8")], "InvalidParameterValue"),
        (vec![group, OPEN[0], OPEN[1], OPEN[2]], "MissingParameter"),
        (vec![group, ("IpPermissions.1.IpProtocol", "-1")], "InvalidPermission.Malformed"),
        (vec![group, ("IpPermissions.1.IpProtocol", "-1"), OPEN[3]], "InvalidParameterCombination"),
        (vec![("GroupId", "sg-0123456789abcdef0"), ("IpProtocol", "-1"), OPEN[3]], "InvalidGroup.NotFound"),
        (vec![("GroupId", "sg-x"), ("IpProtocol", "-1"), OPEN[3]], "InvalidGroupId.Malformed"),
    ] {
        alice.ec2("AuthorizeSecurityGroupIngress", &words).await.refused(400, code);
    }
    let long = "x".repeat(256);
    for (name, description) in [
        ("sg-web", "d"),
        ("default", "d"),
        ("wéb", "d"),
        ("a<b", "d"),
        (" ", "d"),
        (&long, "d"),
        ("ok", "dé"),
        ("ok", &long),
    ] {
        let words = [("GroupName", name), ("GroupDescription", description)];
        alice.ec2("CreateSecurityGroup", &words).await.refused(400, "InvalidParameterValue");
    }
    for (vpc, code) in
        [("vpc-x", "InvalidVpcID.Malformed"), ("vpc-0123456789abcdef0", "InvalidVpcID.NotFound")]
    {
        let words = [("GroupName", "ok"), ("GroupDescription", "d"), ("VpcId", vpc)];
        alice.ec2("CreateSecurityGroup", &words).await.refused(400, code);
    }
    let after = alice.ec2("DescribeSecurityGroupRules", &[]).await.ok().all("securityGroupRuleId");
    assert_eq!(after, before, "nothing came of it");
}

async fn a_rule_exists_once(cloud: Cloud) {
    let alice = cloud.owner().await;
    let group = made(&alice, "once").await;
    let web = ["tcp", "443", "443"];
    authorized(&alice, &group, web, ("IpRanges.1.CidrIp", "0.0.0.0/0")).await.ok();
    let again = authorized(&alice, &group, ["6", "443", "443"], ("IpRanges.1.CidrIp", "1.2.3.4/0")).await;
    let again = again.refused(400, "InvalidPermission.Duplicate");
    let expected =
        "the specified rule \"peer: 0.0.0.0/0, TCP, from port: 443, to port: 443, ALLOW\" already exists";
    assert_eq!(again.one("Message").replace("&quot;", "\""), expected);
    let twice = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "udp"),
        ("IpPermissions.1.FromPort", "53"),
        ("IpPermissions.1.ToPort", "53"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
        ("IpPermissions.1.IpRanges.2.CidrIp", "10.9.9.9/8"),
    ];
    let twice = alice.ec2("AuthorizeSecurityGroupIngress", &twice).await;
    let twice = twice.refused(400, "InvalidParameterValue");
    assert_eq!(twice.one("Message"), "The same permission must not appear multiple times");
    // One that is there already keeps the others of the request out.
    let mixed = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "443"),
        ("IpPermissions.1.ToPort", "443"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
        ("IpPermissions.1.IpRanges.2.CidrIp", "0.0.0.0/0"),
    ];
    let mixed = alice.ec2("AuthorizeSecurityGroupIngress", &mixed).await;
    mixed.refused(400, "InvalidPermission.Duplicate");
    let shown = alice.ec2("DescribeSecurityGroups", &[("GroupId.1", &group)]).await.ok();
    assert!(!shown.text.contains("10.0.0.0/8"), "{}", shown.text);
}

async fn rules_are_taken_by_id_and_by_what_they_say(cloud: Cloud) {
    let alice = cloud.owner().await;
    let group = made(&alice, "taken").await;
    let rule = authorized(&alice, &group, ["tcp", "1", "1"], ("IpRanges.1.CidrIp", "0.0.0.0/0")).await.ok();
    let rule = rule.one("securityGroupRuleId");
    let by_id = [("GroupId", group.as_str()), ("SecurityGroupRuleId.1", rule.as_str())];
    // It is no egress rule, and no rule of another group.
    alice.ec2("RevokeSecurityGroupEgress", &by_id).await.refused(400, "InvalidSecurityGroupRuleId.NotFound");
    let elsewhere = [("GroupName", "default"), ("SecurityGroupRuleId.1", rule.as_str())];
    alice
        .ec2("RevokeSecurityGroupIngress", &elsewhere)
        .await
        .refused(400, "InvalidSecurityGroupRuleId.NotFound");
    assert_eq!(alice.ec2("RevokeSecurityGroupIngress", &by_id).await.ok().one("fromPort"), "1");
    alice.ec2("RevokeSecurityGroupIngress", &by_id).await.refused(400, "InvalidSecurityGroupRuleId.NotFound");
    let nonsense = [("GroupId", group.as_str()), ("SecurityGroupRuleId.1", "nonsense")];
    alice
        .ec2("RevokeSecurityGroupIngress", &nonsense)
        .await
        .refused(400, "InvalidSecurityGroupRuleId.Malformed");
    let all = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    assert_eq!(alice.ec2("RevokeSecurityGroupEgress", &all).await.ok().one("isEgress"), "true");
    alice.ec2("AuthorizeSecurityGroupEgress", &all).await.ok();
    alice.ec2("AuthorizeSecurityGroupEgress", &all).await.refused(400, "InvalidPermission.Duplicate");
}

async fn rules_are_replaced_and_described(cloud: Cloud) {
    let alice = cloud.owner().await;
    let group = made(&alice, "replaced").await;
    let mut rules = Vec::new();
    for cidr in ["10.0.0.0/8", "11.0.0.0/8"] {
        let rule = authorized(&alice, &group, ["tcp", "1", "1"], ("IpRanges.1.CidrIp", cidr)).await.ok();
        rules.push(rule.one("securityGroupRuleId"));
    }
    let replace = async |cidrs: [&str; 2]| {
        let mut words = vec![("GroupId".to_owned(), group.clone())];
        for (number, (rule, cidr)) in (1..).zip(rules.iter().zip(cidrs)) {
            let name = |part: &str| format!("SecurityGroupRule.{number}.{part}");
            words.push((name("SecurityGroupRuleId"), rule.clone()));
            for (part, value) in [
                ("IpProtocol", "tcp"),
                ("FromPort", "1"),
                ("ToPort", "1"),
                ("CidrIpv4", cidr),
                ("Description", cidr),
            ] {
                words.push((name(&format!("SecurityGroupRule.{part}")), value.to_owned()));
            }
        }
        let words: Vec<(&str, &str)> =
            words.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        alice.ec2("ModifySecurityGroupRules", &words).await
    };
    let told = async || {
        let by_id =
            [("SecurityGroupRuleId.1", rules[0].as_str()), ("SecurityGroupRuleId.2", rules[1].as_str())];
        let told = alice.ec2("DescribeSecurityGroupRules", &by_id).await.ok();
        let ids = told.all("securityGroupRuleId");
        let (cidrs, descriptions) = (told.all("cidrIpv4"), told.all("description"));
        rules
            .iter()
            .map(|rule| {
                let at = ids.iter().position(|id| id == rule).unwrap();
                (cidrs[at].clone(), descriptions.get(at).cloned().unwrap_or_default())
            })
            .collect::<Vec<_>>()
    };
    // They change places, in one call.
    assert_eq!(replace(["11.0.0.0/8", "10.0.0.0/8"]).await.ok().one("return"), "true");
    assert_eq!(
        told().await,
        [("11.0.0.0/8".into(), "11.0.0.0/8".into()), ("10.0.0.0/8".into(), "10.0.0.0/8".into())]
    );
    replace(["12.0.0.0/8", "12.0.0.0/8"]).await.refused(400, "InvalidParameterValue");
    authorized(&alice, &group, ["tcp", "1", "1"], ("IpRanges.1.CidrIp", "13.0.0.0/8")).await.ok();
    replace(["12.0.0.0/8", "13.0.0.0/8"]).await.refused(400, "InvalidPermission.Duplicate");
    assert_eq!(told().await[0].0, "11.0.0.0/8", "all of it or nothing");

    let by_id = [
        ("GroupId", group.as_str()),
        ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", rules[0].as_str()),
        ("SecurityGroupRuleDescription.1.Description", "the office"),
    ];
    alice.ec2("UpdateSecurityGroupRuleDescriptionsIngress", &by_id).await.ok();
    assert_eq!(told().await[0].1, "the office");
    let by_terms = [
        ("GroupName", "replaced"),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ("IpPermissions.1.IpRanges.1.Description", "all of it"),
    ];
    alice.ec2("UpdateSecurityGroupRuleDescriptionsEgress", &by_terms).await.ok();
    let shown = alice.ec2("DescribeSecurityGroups", &[("GroupId.1", &group)]).await.ok();
    assert!(shown.all("description").contains(&"all of it".to_owned()), "{}", shown.text);
    alice
        .ec2("UpdateSecurityGroupRuleDescriptionsIngress", &by_terms)
        .await
        .refused(400, "InvalidPermission.NotFound");
    let both = [&by_id[..], &by_terms[1..]].concat();
    alice.ec2("UpdateSecurityGroupRuleDescriptionsIngress", &both).await.refused(400, "MissingParameter");
    let odd = [by_id[0], by_id[1], ("SecurityGroupRuleDescription.1.Description", "it's")];
    alice.ec2("UpdateSecurityGroupRuleDescriptionsIngress", &odd).await.refused(400, "InvalidParameterValue");
}
