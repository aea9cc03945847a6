//! `karri net show`: the way of a packet, station by station, and what kernels have there.

use crate::args::Net as Verb;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::kernel::KernelPart;
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
        let kernel = station.kernel.iter().flat_map(kernel);
        let lines = Some(by).filter(|by| !by.is_empty()).into_iter().chain(station.has.iter().cloned());
        let mut lines = lines.chain(kernel);
        table.row([station.place.clone(), word.to_owned(), lines.next().unwrap_or_default()]);
        lines.for_each(|line| table.row([String::new(), String::new(), line]));
    }
    table.to_string()
}

/// What one controller saw there: how many packets, where, which rule. `>` is before the one that decides, `!` before what is
/// not as it is wanted.
fn kernel(part: &KernelPart) -> Vec<String> {
    let mut lines = vec![format!("in the kernel, by {}:", part.who)];
    for line in &part.look.lines {
        let mark = if line.decides { ">" } else { " " };
        let packets = line.packets.map(|packets| packets.to_string()).unwrap_or_default();
        lines.push(format!("{mark} {packets:>7}  {}: {}", line.place, line.text));
    }
    lines.extend(part.look.differs.iter().map(|what| format!("! {what}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::internal::kernel::{KernelLine, KernelLook};
    use karri_proto::internal::path::Verdict;

    #[test]
    fn what_a_kernel_has_and_counted_stands_below_the_verdict() {
        let line = |text: &str, packets: Option<u64>, decides: bool| KernelLine {
            place: "iptables mangle C".into(),
            text: text.into(),
            packets,
            decides,
        };
        let lines =
            vec![line("-j RETURN", Some(0), false), line("-j DROP", Some(12), true), line("x", None, false)];
        let look = KernelLook { lines, differs: vec!["C lacks: y".into()] };
        let station = Station {
            place: "port a".into(),
            has: Vec::new(),
            verdict: Some(Verdict { passes: false, by: "no rule".into() }),
            kernel: vec![KernelPart { who: "nc n".into(), look }],
        };
        assert_eq!(
            table(&[station]),
            "STATION  PACKET   WHAT\n\
             port a   DROPPED  no rule\n                  in the kernel, by nc n:\n\
             \x20                         0  iptables mangle C: -j RETURN\n\
             \x20                 >      12  iptables mangle C: -j DROP\n\
             \x20                            iptables mangle C: x\n\
             \x20                 ! C lacks: y\n"
        );
    }

    #[test]
    fn each_station_begins_with_what_decided_and_tells_what_there_is() {
        let station = |place: &str, passes: Option<bool>| Station {
            place: place.into(),
            has: vec!["one".into(), "two".into()],
            verdict: passes.map(|passes| Verdict { passes, by: "a rule".into() }),
            kernel: Vec::new(),
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
