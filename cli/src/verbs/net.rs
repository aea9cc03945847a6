//! `karri net show`: the way of a packet, station by station.

use crate::args::Net as Verb;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::path::{PathAsked, Station};

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    let Verb::Show { about, from, to, proto, port } = verb;
    let asked = PathAsked { about, from, to, protocol: proto, port };
    let stations = cloud.clc()?.packet_path(cloud.caller(), asked).await?;
    output.print(&stations, |stations| table(stations))
}

fn table(stations: &[Station]) -> String {
    let mut table = Table::new(["STATION", "PACKET", "WHAT"]);
    for station in stations {
        let (word, by) = match &station.verdict {
            Some(verdict) if verdict.passes => ("passes", verdict.by.clone()),
            Some(verdict) => ("DROPPED", verdict.by.clone()),
            None => ("", String::new()),
        };
        let mut lines = Some(by).filter(|by| !by.is_empty()).into_iter().chain(station.has.iter().cloned());
        table.row([station.place.clone(), word.to_owned(), lines.next().unwrap_or_default()]);
        lines.for_each(|line| table.row([String::new(), String::new(), line]));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::internal::path::Verdict;

    #[test]
    fn each_station_begins_with_what_decided_and_tells_what_there_is() {
        let station = |place: &str, passes: Option<bool>| Station {
            place: place.into(),
            has: vec!["one".into(), "two".into()],
            verdict: passes.map(|passes| Verdict { passes, by: "a rule".into() }),
        };
        let stations =
            [station("port a", Some(true)), station("segment", None), station("port b", Some(false))];
        assert_eq!(
            table(&stations),
            "STATION  PACKET   WHAT\n\
             port a   passes   a rule\n                  one\n                  two\n\
             segment           one\n                  two\n\
             port b   DROPPED  a rule\n                  one\n                  two\n"
        );
    }
}
