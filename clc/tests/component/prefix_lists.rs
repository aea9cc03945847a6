//! Managed prefix lists: versions, limits, who names them, and what clusters hear of a change.

use crate::support::groups::{authorized, made as group};
use crate::support::vpc::{Routed, routed};
use crate::support::{Answer, Client, Cloud, Database};
use karri_clc::config::Limits;
use karri_proto::network::{FactTable, Peer, Route, RouteTarget, Shape, ShapeKey};

on_both! {
    a_list_is_kept_in_versions
    what_a_list_cannot_be_is_refused_in_ec2s_words
    lists_are_found_by_filters_and_pages_and_belong_to_their_account
    a_rule_that_names_a_list_follows_its_entries
    a_route_to_a_list_follows_its_entries
    what_names_a_list_keeps_it
    the_clouds_own_lists_are_none
}

const NONE: &str = "pl-0123456789abcdef0";

/// Of up to ten ranges of IPv4.
async fn made(client: &Client, name: &str, cidrs: &[&str]) -> String {
    sized(client, name, "10", cidrs).await.ok().one("prefixListId")
}

async fn sized(client: &Client, name: &str, most: &str, cidrs: &[&str]) -> Answer {
    let names: Vec<String> = (1..=cidrs.len()).map(|at| format!("Entry.{at}.Cidr")).collect();
    let fixed = [("PrefixListName", name), ("AddressFamily", "IPv4"), ("MaxEntries", most)];
    let entries = names.iter().map(String::as_str).zip(cidrs.iter().copied());
    let words: Vec<(&str, &str)> = fixed.into_iter().chain(entries).collect();
    client.ec2("CreateManagedPrefixList", &words).await
}

async fn modified(client: &Client, list: &str, words: &[(&str, &str)]) -> Answer {
    client.ec2("ModifyManagedPrefixList", &[&[("PrefixListId", list)], words].concat()).await
}

async fn entries(client: &Client, list: &str, version: &str) -> Answer {
    let words = [("PrefixListId", list), ("TargetVersion", version)];
    let words = if version.is_empty() { &words[..1] } else { &words };
    client.ec2("GetManagedPrefixListEntries", words).await
}

async fn a_list_is_kept_in_versions(cloud: Cloud) {
    let alice = cloud.owner().await;
    let words = [
        ("PrefixListName", "offices"),
        ("AddressFamily", "IPv4"),
        ("MaxEntries", "3"),
        ("Entry.1.Cidr", "10.0.0.0/8"),
        ("Entry.1.Description", "old"),
        ("Entry.2.Cidr", "192.0.2.7/24"),
        ("TagSpecification.1.ResourceType", "prefix-list"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "offices"),
        ("ClientToken", "once"),
    ];
    let answer = alice.ec2("CreateManagedPrefixList", &words).await.ok();
    let list = answer.one("prefixListId");
    for (name, value) in [
        ("addressFamily", "IPv4"),
        ("maxEntries", "3"),
        ("prefixListName", "offices"),
        ("state", "create-complete"),
        ("version", "1"),
        ("key", "Name"),
    ] {
        assert_eq!(answer.one(name), value);
    }
    assert!(answer.one("prefixListArn").ends_with(&format!(":prefix-list/{list}")), "{}", answer.text);
    let again = alice.ec2("CreateManagedPrefixList", &words).await.ok();
    assert_eq!(again.one("prefixListId"), list, "the same token, the same list");

    let change = [
        ("CurrentVersion", "1"),
        ("RemoveEntry.1.Cidr", "192.0.2.0/24"),
        ("AddEntry.1.Cidr", "198.51.100.0/24"),
        ("AddEntry.2.Cidr", "10.0.0.0/8"),
        ("AddEntry.2.Description", "new"),
    ];
    let answer = modified(&alice, &list, &change).await.ok();
    assert_eq!((answer.one("version"), answer.one("state")), ("2".into(), "modify-complete".into()));
    let stale = modified(&alice, &list, &change).await.refused(400, "PrefixListVersionMismatch");
    assert_eq!(stale.message(), "The prefix list has the incorrect version number.");
    for (name, value) in [("PrefixListName", "branches"), ("MaxEntries", "4")] {
        let answer = modified(&alice, &list, &[(name, value)]).await.ok();
        assert_eq!(answer.one("version"), "2", "{name} is none of a version's");
    }
    let both = [("CurrentVersion", "2"), ("RemoveEntry.1.Cidr", "198.51.100.0/24")];
    assert_eq!(modified(&alice, &list, &both).await.ok().one("version"), "3");
    for (version, cidrs, said) in [
        ("1", &["10.0.0.0/8", "192.0.2.0/24"][..], "old"),
        ("2", &["10.0.0.0/8", "198.51.100.0/24"], "new"),
        ("3", &["10.0.0.0/8"], "new"),
        ("", &["10.0.0.0/8"], "new"),
    ] {
        let told = entries(&alice, &list, version).await.ok();
        assert_eq!(
            (told.all("cidr"), told.one("description")),
            (cidrs.iter().map(|text| (*text).to_owned()).collect(), said.to_owned())
        );
    }
    let restore = |current: &'static str, previous: &'static str| {
        [("CurrentVersion", current), ("PreviousVersion", previous)]
    };
    let call = async |words: [(&str, &str); 2]| {
        let words = [&[("PrefixListId", list.as_str())], &words[..]].concat();
        alice.ec2("RestoreManagedPrefixListVersion", &words).await
    };
    call(restore("2", "1")).await.refused(400, "PrefixListVersionMismatch");
    call(restore("3", "4")).await.refused(400, "InvalidParameterValue");
    call(restore("3", "0")).await.refused(400, "InvalidParameterValue");
    let answer = call(restore("3", "1")).await.ok();
    assert_eq!((answer.one("version"), answer.one("state")), ("4".into(), "restore-complete".into()));
    let told = entries(&alice, &list, "").await.ok();
    assert_eq!((told.all("cidr").len(), told.one("description")), (2, "old".into()));
    for version in ["0", "5"] {
        entries(&alice, &list, version).await.refused(400, "InvalidParameterValue");
    }

    let delete = [("PrefixListId", list.as_str())];
    let gone = alice.ec2("DeleteManagedPrefixList", &delete).await.ok();
    assert_eq!(gone.one("state"), "delete-complete");
    alice.ec2("DeleteManagedPrefixList", &delete).await.refused(400, "InvalidPrefixListID.NotFound");
    entries(&alice, &list, "").await.refused(400, "InvalidPrefixListID.NotFound");
    assert!(alice.ec2("DescribeTags", &[]).await.ok().all("resourceId").is_empty());
}

async fn what_a_list_cannot_be_is_refused_in_ec2s_words(cloud: Cloud) {
    let alice = cloud.owner().await;
    let wrong = "InvalidParameterValue";
    let good = [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "1")];
    let long = "x".repeat(256);
    for (words, code, message) in [
        (vec![good[0], good[1], ("MaxEntries", "0")], wrong, "Must specify a max size between 1 and 1000"),
        (vec![good[0], good[1], ("MaxEntries", "1001")], wrong, "Must specify a max size between 1 and 1000"),
        (vec![("PrefixListName", "com.amazonaws.s3"), good[1], good[2]], wrong, "com.amazonaws"),
        (vec![("PrefixListName", &long), good[1], good[2]], wrong, "PrefixListName"),
        (vec![good[0], ("AddressFamily", "ipv5"), good[2]], wrong, "AddressFamily"),
        (vec![good[0], good[1]], "MissingParameter", "MaxEntries"),
        ([&good[..], &[("Entry.1.Cidr", "10.0.0.0")]].concat(), wrong, "CIDR block 10.0.0.0 is malformed"),
        ([&good[..], &[("Entry.1.Cidr", "2001:db8::/32")]].concat(), wrong, "malformed"),
        (
            [&good[..], &[("Entry.1.Cidr", "10.0.0.0/8"), ("Entry.1.Description", &long)]].concat(),
            wrong,
            "Description",
        ),
        (
            [&good[..], &[("Entry.1.Cidr", "10.0.0.0/8"), ("Entry.2.Cidr", "10.1.0.0/8")]].concat(),
            wrong,
            "more than once",
        ),
        (
            [&good[..], &[("Entry.1.Cidr", "10.0.0.0/8"), ("Entry.2.Cidr", "11.0.0.0/8")]].concat(),
            "PrefixListMaxEntriesExceeded",
            "You've reached the maximum number of entries for the prefix list",
        ),
    ] {
        let answer = alice.ec2("CreateManagedPrefixList", &words).await.refused(400, code);
        let message_told = answer.message().replace("&apos;", "'");
        assert!(message_told.contains(message), "{message_told}");
    }
    assert!(alice.ec2("DescribeManagedPrefixLists", &[]).await.ok().all("prefixListId").is_empty());

    let list = sized(&alice, "full", "2", &["10.0.0.0/8", "11.0.0.0/8"]).await.ok().one("prefixListId");
    let now = ("CurrentVersion", "1");
    for (words, code) in [
        (vec![], "InvalidRequest"),
        (vec![("AddEntry.1.Cidr", "12.0.0.0/8"), ("MaxEntries", "3")], "InvalidParameterCombination"),
        (vec![now, ("AddEntry.1.Cidr", "12.0.0.0/8")], "PrefixListMaxEntriesExceeded"),
        (vec![("MaxEntries", "1")], "PrefixListMaxEntriesExceeded"),
        (vec![now, ("AddEntry.1.Cidr", "10.0.0.0/8")], "InvalidPrefixListModification"),
        (vec![now, ("RemoveEntry.1.Cidr", "12.0.0.0/8")], "InvalidPrefixListModification"),
        (
            vec![now, ("AddEntry.1.Cidr", "10.0.0.0/8"), ("RemoveEntry.1.Cidr", "10.0.0.0/8")],
            "InvalidPrefixListModification",
        ),
        (vec![("CurrentVersion", "0"), ("RemoveEntry.1.Cidr", "10.0.0.0/8")], wrong),
        (vec![("IpamPrefixListResolverSyncEnabled", "true")], "UnsupportedOperation"),
    ] {
        modified(&alice, &list, &words).await.refused(400, code);
    }
    modified(&alice, NONE, &[("PrefixListName", "b")]).await.refused(400, "InvalidPrefixListID.NotFound");
    modified(&alice, "pl-x", &[("PrefixListName", "b")]).await.refused(400, "InvalidPrefixListID.Malformed");
    let told = entries(&alice, &list, "").await.ok();
    assert_eq!(told.all("cidr"), ["10.0.0.0/8", "11.0.0.0/8"], "nothing came of it");
}

async fn lists_are_found_by_filters_and_pages_and_belong_to_their_account(cloud: Cloud) {
    let alice = cloud.owner().await;
    let mut ids = Vec::new();
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        ids.push(made(&alice, name, &["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"][..=number]).await);
    }
    let tag = [("ResourceId.1", ids[1].as_str()), ("Tag.1.Key", "env"), ("Tag.1.Value", "test")];
    alice.ec2("CreateTags", &tag).await.ok();
    for (filter, value) in
        [("prefix-list-name", "b"), ("prefix-list-id", ids[1].as_str()), ("tag:env", "test")]
    {
        let words = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeManagedPrefixLists", &words).await.ok();
        assert_eq!(found.all("prefixListId"), [ids[1].clone()], "{filter}");
        assert_eq!(found.one("value"), "test");
    }
    let wrong = [("Filter.1.Name", "state"), ("Filter.1.Value.1", "x")];
    alice.ec2("DescribeManagedPrefixLists", &wrong).await.refused(400, "InvalidParameterValue");
    // EC2 takes pages of one here.
    let (mut found, mut token) = (Vec::new(), String::new());
    for _ in 0..ids.len() {
        let words = [("MaxResults", "1"), ("NextToken", token.as_str())];
        let page = alice.ec2("DescribeManagedPrefixLists", &words).await.ok();
        found.push(page.one("prefixListId"));
        token = page.first("nextToken").unwrap_or_default();
    }
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!((found, token.as_str()), (sorted, ""));
    let page = [("PrefixListId", ids[2].as_str()), ("MaxResults", "2")];
    let first = alice.ec2("GetManagedPrefixListEntries", &page).await.ok();
    assert_eq!(first.all("cidr"), ["10.0.0.0/8", "11.0.0.0/8"]);
    let token = first.one("nextToken");
    let rest = [page[0], ("NextToken", token.as_str())];
    assert_eq!(alice.ec2("GetManagedPrefixListEntries", &rest).await.ok().all("cidr"), ["12.0.0.0/8"]);
    let words = [("PrefixListId.1", ids[0].as_str()), ("PrefixListId.2", NONE)];
    alice.ec2("DescribeManagedPrefixLists", &words).await.refused(400, "InvalidPrefixListID.NotFound");

    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    assert!(bob.ec2("DescribeManagedPrefixLists", &[]).await.ok().all("prefixListId").is_empty());
    let theirs = ids[0].as_str();
    let none = "InvalidPrefixListID.NotFound";
    entries(&bob, theirs, "").await.refused(400, none);
    modified(&bob, theirs, &[("PrefixListName", "mine")]).await.refused(400, none);
    for action in ["DeleteManagedPrefixList", "GetManagedPrefixListAssociations"] {
        bob.ec2(action, &[("PrefixListId", theirs)]).await.refused(400, none);
    }
    let tag = [("ResourceId.1", theirs), ("Tag.1.Key", "env"), ("Tag.1.Value", "mine")];
    bob.ec2("CreateTags", &tag).await.refused(400, none);
    let web = group(&bob, "web").await;
    let peer = ("PrefixListIds.1.PrefixListId", theirs);
    authorized(&bob, &web, ["tcp", "1", "1"], peer).await.refused(400, none);
}

/// The ranges that a group's ingress rules let in, as a cluster knows them.
fn let_in(table: &FactTable, group: &str) -> Vec<String> {
    let group = group.parse().unwrap();
    let mut nets: Vec<String> = table
        .rules_of(&group)
        .filter(|rule| rule.part_of.is_some())
        .filter_map(|rule| match &rule.peer {
            Peer::V4(net) => Some(net.to_string()),
            Peer::V6(net) => Some(net.to_string()),
            Peer::Group(_) => None,
        })
        .collect();
    nets.sort();
    nets
}

async fn a_rule_that_names_a_list_follows_its_entries(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (web, list) = (group(&alice, "web").await, made(&alice, "offices", &["10.0.0.0/8"]).await);
    alice.run(1, &[("SecurityGroup.1", "web")]).await.ok();
    let peer = ("PrefixListIds.1.PrefixListId", list.as_str());
    let answer = authorized(&alice, &web, ["tcp", "22", "22"], peer).await.ok();
    assert_eq!(answer.one("prefixListId"), list);
    let rule = answer.one("securityGroupRuleId");
    let again = authorized(&alice, &web, ["6", "22", "22"], peer).await;
    again.refused(400, "InvalidPermission.Duplicate");
    let read = alice.ec2("DescribeSecurityGroupRules", &[("SecurityGroupRuleId.1", &rule)]).await.ok();
    assert_eq!((read.one("prefixListId"), read.all("cidrIpv4")), (list.clone(), Vec::<String>::new()));
    let by_list = [("Filter.1.Name", "ip-permission.prefix-list-id"), ("Filter.1.Value.1", list.as_str())];
    let found = alice.ec2("DescribeSecurityGroups", &by_list).await.ok();
    assert_eq!((found.one("groupId"), found.one("prefixListId")), (web.clone(), list.clone()));

    let hears = async |what: &str, wanted: &[&str]| {
        cluster.wait_for_facts(what, |table| let_in(table, &web) == wanted).await
    };
    let table = hears("the entry", &["10.0.0.0/8"]).await;
    let id = web.parse().unwrap();
    let mut parts = table.rules_of(&id).filter_map(|one| one.part_of.as_ref());
    assert!(parts.all(|whole| whole.as_str() == rule));
    let before = cluster.facts.changes();
    let add = [("CurrentVersion", "1"), ("AddEntry.1.Cidr", "192.0.2.0/24")];
    modified(&alice, &list, &add).await.ok();
    hears("an entry more", &["10.0.0.0/8", "192.0.2.0/24"]).await;
    assert_eq!(cluster.facts.changes(), before + 1, "what stays is not told of again");
    modified(&alice, &list, &[("PrefixListName", "branches")]).await.ok();
    let swap = [
        ("CurrentVersion", "2"),
        ("AddEntry.1.Cidr", "198.51.100.0/24"),
        ("RemoveEntry.1.Cidr", "10.0.0.0/8"),
    ];
    modified(&alice, &list, &swap).await.ok();
    hears("others", &["192.0.2.0/24", "198.51.100.0/24"]).await;
    let restore = [("PrefixListId", list.as_str()), ("CurrentVersion", "3"), ("PreviousVersion", "1")];
    alice.ec2("RestoreManagedPrefixListVersion", &restore).await.ok();
    hears("the first again", &["10.0.0.0/8"]).await;

    let other = sized(&alice, "other", "5", &["203.0.113.0/24"]).await.ok().one("prefixListId");
    let replaced = [
        ("GroupId", web.as_str()),
        ("SecurityGroupRule.1.SecurityGroupRuleId", rule.as_str()),
        ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "-1"),
        ("SecurityGroupRule.1.SecurityGroupRule.PrefixListId", other.as_str()),
    ];
    alice.ec2("ModifySecurityGroupRules", &replaced).await.ok();
    hears("those of the other list", &["203.0.113.0/24"]).await;
    let revoked = [("GroupId", web.as_str()), ("SecurityGroupRuleId.1", rule.as_str())];
    let gone = alice.ec2("RevokeSecurityGroupIngress", &revoked).await.ok();
    assert_eq!(gone.one("prefixListId"), other);
    hears("none", &[]).await;
}

fn routes(table: &FactTable, id: &str) -> Option<Vec<Route>> {
    match table.shape(&ShapeKey::RouteTable(id.parse().unwrap()))? {
        Shape::RouteTable(table) => Some(table.routes.clone()),
        _ => None,
    }
}

async fn a_route_to_a_list_follows_its_entries(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, gateway, table, .. } = routed(&alice).await;
    // What lies in the VPC is reached within it, and a route by itself goes before one of a list.
    let list = made(&alice, "far", &["192.0.2.0/24", "10.0.1.0/24", "198.51.100.0/24"]).await;
    let at = ("RouteTableId", table.as_str());
    let to = ("DestinationPrefixListId", list.as_str());
    let out = ("GatewayId", gateway.as_str());
    alice.ec2("CreateRoute", &[at, to, out]).await.ok();
    alice.ec2("CreateRoute", &[at, to, out]).await.refused(400, "RouteAlreadyExists");
    let told = alice.ec2("DescribeRouteTables", &[("RouteTableId.1", &table)]).await.ok();
    assert_eq!(told.all("destinationPrefixListId"), std::slice::from_ref(&list));
    assert_eq!(told.all("destinationCidrBlock"), ["10.0.0.0/16"]);
    let filter = [("Filter.1.Name", "route.destination-prefix-list-id"), ("Filter.1.Value.1", list.as_str())];
    assert_eq!(
        alice.ec2("DescribeRouteTables", &filter).await.ok().first("routeTableId"),
        Some(table.clone())
    );

    let hears = async |what: &str, wanted: &[(&str, RouteTarget)]| {
        let same = |facts: &FactTable| {
            let known = routes(facts, &table).unwrap_or_default();
            let mut known: Vec<_> = known.into_iter().map(|one| (one.to.to_string(), one.target)).collect();
            known.sort_by(|one, other| one.0.cmp(&other.0));
            known.iter().map(|(to, target)| (to.as_str(), target.clone())).eq(wanted.iter().cloned())
        };
        cluster.wait_for_facts(what, same).await;
    };
    use RouteTarget::{Blackhole, Internet};
    hears("its entries", &[("192.0.2.0/24", Internet), ("198.51.100.0/24", Internet)]).await;
    let swap = [
        ("CurrentVersion", "1"),
        ("AddEntry.1.Cidr", "203.0.113.0/24"),
        ("RemoveEntry.1.Cidr", "192.0.2.0/24"),
    ];
    modified(&alice, &list, &swap).await.ok();
    hears("others", &[("198.51.100.0/24", Internet), ("203.0.113.0/24", Internet)]).await;
    let range = [("VpcId", vpc.as_str()), ("CidrBlock", "198.51.100.0/24")];
    let range = alice.ec2("AssociateVpcCidrBlock", &range).await.ok().one("associationId");
    hears("one that became the VPC's own", &[("203.0.113.0/24", Internet)]).await;
    alice.ec2("DisassociateVpcCidrBlock", &[("AssociationId", &range)]).await.ok();
    hears("and is not any more", &[("198.51.100.0/24", Internet), ("203.0.113.0/24", Internet)]).await;
    alice.ec2("ReplaceRoute", &[at, to, out]).await.ok();
    let pair = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
    alice.ec2("DetachInternetGateway", &pair).await.ok();
    hears("black holes", &[("198.51.100.0/24", Blackhole), ("203.0.113.0/24", Blackhole)]).await;
    alice.ec2("DeleteRoute", &[at, to]).await.ok();
    hears("none", &[]).await;
    let gone = alice.ec2("DeleteRoute", &[at, to]).await.refused(400, "InvalidRoute.NotFound");
    let expected = format!("no route with destination-prefix-list-id {list} in route table {table}");
    assert_eq!(gone.message(), expected);

    let six = [("PrefixListName", "six"), ("AddressFamily", "IPv6"), ("MaxEntries", "1")];
    let six = alice.ec2("CreateManagedPrefixList", &six).await.ok().one("prefixListId");
    alice.ec2("AttachInternetGateway", &pair).await.ok();
    for (to, code) in [
        (six.as_str(), "UnsupportedOperation"),
        (NONE, "InvalidPrefixListID.NotFound"),
        ("pl-x", "InvalidPrefixListID.Malformed"),
    ] {
        alice.ec2("CreateRoute", &[at, ("DestinationPrefixListId", to), out]).await.refused(400, code);
    }
}

async fn what_names_a_list_keeps_it(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let list = made(&alice, "kept", &["192.0.2.0/24"]).await;
    let web = group(&alice, "web").await;
    let peer = ("PrefixListIds.1.PrefixListId", list.as_str());
    authorized(&alice, &web, ["tcp", "22", "22"], peer).await.ok();
    authorized(&alice, &web, ["tcp", "80", "80"], peer).await.ok();
    let Routed { gateway, table, .. } = routed(&alice).await;
    let at = ("RouteTableId", table.as_str());
    let to = ("DestinationPrefixListId", list.as_str());
    alice.ec2("CreateRoute", &[at, to, ("GatewayId", &gateway)]).await.ok();

    let named = [("PrefixListId", list.as_str())];
    let owner = alice.ec2("DescribeManagedPrefixLists", &[]).await.ok().one("ownerId");
    let users = alice.ec2("GetManagedPrefixListAssociations", &named).await.ok();
    assert_eq!(users.all("resourceId"), [table.clone(), web.clone()]);
    assert_eq!(users.all("resourceOwner"), [owner.clone(), owner]);
    let kept = async |by: &str| {
        let answer = alice.ec2("DeleteManagedPrefixList", &named).await.refused(400, "DependencyViolation");
        let message = answer.message().replace("&apos;", "'");
        let expected = format!("The prefixList '{list}' has dependencies and cannot be deleted.");
        assert!(message.starts_with(&expected) && message.contains(by), "{message}");
    };
    kept(&web).await;
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &web)]).await.ok();
    kept(&table).await;
    alice.ec2("DeleteRoute", &[at, to]).await.ok();
    assert!(alice.ec2("GetManagedPrefixListAssociations", &named).await.ok().all("resourceId").is_empty());
    alice.ec2("DeleteManagedPrefixList", &named).await.ok();
}

/// Small, so that each limit is reached.
async fn a_list_counts_as_all_that_it_may_have(engine: Database) {
    let limits = Limits {
        rules_per_security_group: 5,
        routes_per_table: 5,
        prefix_lists_per_account: 3,
        ..Limits::default()
    };
    let cloud = Cloud::start_with(engine, limits).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let four = sized(&alice, "four", "4", &[]).await.ok().one("prefixListId");
    let two = sized(&alice, "two", "2", &["192.0.2.0/24"]).await.ok().one("prefixListId");
    let six = [("PrefixListName", "six"), ("AddressFamily", "IPv6"), ("MaxEntries", "5")];
    let six = alice.ec2("CreateManagedPrefixList", &six).await.ok().one("prefixListId");
    sized(&alice, "more", "1", &[]).await.refused(400, "PrefixListLimitExceeded");

    let web = group(&alice, "web").await;
    let names = async |list: &str, port: &str| {
        authorized(&alice, &web, ["tcp", port, port], ("PrefixListIds.1.PrefixListId", list)).await
    };
    let full = "RulesPerSecurityGroupLimitExceeded";
    names(&four, "1").await.ok();
    names(&two, "1").await.refused(400, full);
    names(&six, "1").await.ok(); // those of IPv6 count by themselves
    authorized(&alice, &web, ["tcp", "1", "1"], ("IpRanges.1.CidrIp", "10.0.0.0/8")).await.ok();
    authorized(&alice, &web, ["tcp", "1", "1"], ("IpRanges.1.CidrIp", "11.0.0.0/8")).await.refused(400, full);
    let larger = modified(&alice, &four, &[("MaxEntries", "5")]).await.refused(400, full);
    assert!(larger.message().contains(&web), "{}", larger.text);
    modified(&alice, &four, &[("MaxEntries", "3")]).await.ok();
    authorized(&alice, &web, ["tcp", "1", "1"], ("IpRanges.1.CidrIp", "11.0.0.0/8")).await.ok();

    let Routed { gateway, table, .. } = routed(&alice).await;
    let route = async |list: &str| {
        let words =
            [("RouteTableId", table.as_str()), ("DestinationPrefixListId", list), ("GatewayId", &gateway)];
        alice.ec2("CreateRoute", &words).await
    };
    route(&four).await.ok();
    route(&two).await.ok();
    let larger = modified(&alice, &two, &[("MaxEntries", "3")]).await.refused(400, "RouteLimitExceeded");
    assert!(larger.message().contains(&table), "{}", larger.text);
    let one =
        [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "0.0.0.0/0"), ("GatewayId", &gateway)];
    alice.ec2("CreateRoute", &one).await.refused(400, "RouteLimitExceeded");
}

async fn the_clouds_own_lists_are_none(cloud: Cloud) {
    let alice = cloud.owner().await;
    let own = made(&alice, "mine", &[]).await;
    assert!(alice.ec2("DescribePrefixLists", &[]).await.ok().all("prefixListId").is_empty());
    for id in [own.as_str(), NONE] {
        let words = [("PrefixListId.1", id)];
        alice.ec2("DescribePrefixLists", &words).await.refused(400, "InvalidPrefixListID.NotFound");
    }
    let filter = [("Filter.1.Name", "prefix-list-name"), ("Filter.1.Value.1", "com.amazonaws.x.s3")];
    assert!(alice.ec2("DescribePrefixLists", &filter).await.ok().all("prefixListId").is_empty());
    let wrong = [("Filter.1.Name", "nonsense"), ("Filter.1.Value.1", "x")];
    alice.ec2("DescribePrefixLists", &wrong).await.refused(400, "InvalidParameterValue");
}

mod a_list_counts_as_all_that_it_may_have {
    use super::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::a_list_counts_as_all_that_it_may_have(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::a_list_counts_as_all_that_it_may_have(Database::Postgres).await;
    }
}
