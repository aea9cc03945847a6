//! Programs at the links of this host: what comes in by a link, and what goes out by it, meets them first or last (`tc`'s
//! `clsact` with filters of the kind `bpf`).
//!
//! Others may have programs of their own at the same place. Ours are known by their name, and nothing else is touched.

use crate::bpf::Program;
use crate::netlink::{EXISTS, NO_DEVICE, NO_ENTRY, failed, unless};
use crate::{NetError, Netlink, dump};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use std::io::{self, ErrorKind};

const PLACE: &str = "clsact";
const PLACE_HANDLE: TcHandle = TcHandle { major: u16::MAX, minor: 0 };
const INVALID: i32 = -22;
const UNSUPPORTED: i32 = -95;
/// Among filters of others: a lower number comes before.
const PRIORITY: u16 = 0x4b41;
const IPV4: u16 = 0x0800;
/// How much is heard at a time: what comes faster is change enough.
const MESSAGES_MAX: usize = 10_000;

/// Which packets of a link meet a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Ingress,
    Egress,
}

impl Hook {
    const fn parent(self) -> TcHandle {
        match self {
            Hook::Ingress => TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS },
            Hook::Egress => TcHandle { major: u16::MAX, minor: TcHandle::MIN_EGRESS },
        }
    }
}

/// What came of bringing a program to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    There,
    /// Somebody has made the place for something else.
    Taken,
    LinkGone,
}

/// Whose programs they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    /// Another number for each owner on the host.
    pub number: u32,
}

/// A filter, as far as anybody here asks about it.
struct Filter {
    header: TcMessage,
    name: Option<String>,
    program: Option<u32>,
}

impl From<TcMessage> for Filter {
    fn from(message: TcMessage) -> Self {
        let mut filter = Self { header: TcMessage::default(), name: None, program: None };
        for attribute in &message.attributes {
            let TcAttribute::Options(options) = attribute else { continue };
            for option in options {
                match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name = Some(name.clone()),
                    TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = Some(*id),
                    _ => {}
                }
            }
        }
        filter.header.header = message.header;
        filter
    }
}

fn of_link(link: u32) -> TcMessage {
    TcMessage::with_index(link.cast_signed())
}

fn place_of(link: u32) -> TcMessage {
    let mut message = of_link(link);
    message.header.handle = PLACE_HANDLE;
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind(PLACE.to_owned()));
    message
}

impl Netlink {
    /// Lets all IPv4 packets of the link meet the program, instead of the owner's earlier one if there is one: not one
    /// packet meets neither.
    pub async fn attach(
        &self,
        link: u32,
        hook: Hook,
        owner: &Owner,
        program: &Program,
    ) -> Result<Attachment, NetError> {
        let made = RouteNetlinkMessage::NewQueueDiscipline(place_of(link));
        let made = unless(EXISTS, self.request(made, NLM_F_CREATE | NLM_F_EXCL).await);
        let place = attachment(made)?;
        if place != Attachment::There {
            return Ok(place);
        }
        let mut filter = of_link(link);
        filter.header.handle = TcHandle::from(owner.number);
        filter.header.parent = hook.parent();
        filter.header.info = u32::from(PRIORITY) << 16 | u32::from(IPV4.to_be());
        filter.attributes = vec![
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(program.descriptor().unsigned_abs())),
                TcOption::Bpf(TcFilterBpfOption::ProgName(owner.name.clone())),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ];
        attachment(self.request(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE).await)
    }

    /// The kernel's number of the owner's program there.
    pub async fn attached(&self, link: u32, hook: Hook, owner: &Owner) -> Result<Option<u32>, NetError> {
        let filters = self.filters(link, hook).await?;
        Ok(filters.into_iter().find(|filter| filter.is_of(owner)).and_then(|filter| filter.program))
    }

    /// Takes away the owner's programs from the link, and their place with them if nobody else has something there. True:
    /// there were some.
    pub async fn detach(&self, link: u32, owner: &Owner) -> Result<bool, NetError> {
        let mut filters = self.filters(link, Hook::Ingress).await?;
        filters.extend(self.filters(link, Hook::Egress).await?);
        let (own, others): (Vec<_>, Vec<_>) = filters.into_iter().partition(|filter| filter.is_of(owner));
        let gone = match (own.is_empty(), others.is_empty()) {
            (true, _) => return Ok(false),
            (false, true) => vec![RouteNetlinkMessage::DelQueueDiscipline(place_of(link))],
            (false, false) => own.into_iter().map(Filter::removal).collect(),
        };
        for message in gone {
            let removed = unless(NO_ENTRY, unless(NO_DEVICE, self.request(message, 0).await));
            removed.map_err(failed("programs at a link"))?;
        }
        Ok(true)
    }

    async fn filters(&self, link: u32, hook: Hook) -> Result<Vec<Filter>, NetError> {
        let ask = || {
            let request = self.handle.traffic_filter(link.cast_signed()).get();
            match hook {
                Hook::Ingress => request.ingress(),
                Hook::Egress => request.egress(),
            }
            .execute()
        };
        let all = match dump(ask).await {
            // There is no place for programs in this kernel, and so none.
            Err(rtnetlink::Error::NetlinkError(told)) if told.raw_code() == UNSUPPORTED => Vec::new(),
            all => all.map_err(failed("programs at a link"))?,
        };
        // The kernel also tells each priority as a whole, which has no number.
        let all = all.into_iter().filter(|message| message.header.handle != TcHandle::UNSPEC);
        Ok(all.map(Filter::from).collect())
    }
}

impl Filter {
    fn is_of(&self, owner: &Owner) -> bool {
        self.name.as_ref() == Some(&owner.name)
    }

    fn removal(self) -> RouteNetlinkMessage {
        let mut message = self.header;
        message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
        RouteNetlinkMessage::DelTrafficFilter(message)
    }
}

fn attachment(result: Result<(), rtnetlink::Error>) -> Result<Attachment, NetError> {
    match result {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == NO_DEVICE => {
            Ok(Attachment::LinkGone)
        }
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == INVALID => Ok(Attachment::Taken),
        other => other.map(|()| Attachment::There).map_err(failed("a program at a link")),
    }
}

/// Hears whether anything of this kind changes on the host, whoever does it.
#[derive(Debug)]
pub struct FilterChanges {
    socket: Socket,
}

impl FilterChanges {
    /// Of this thread's namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 1 << (MulticastGroup::Tc as u32 - 1)))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// Since the last time. Does not wait.
    pub fn heard(&self) -> bool {
        let mut some = false;
        for _ in 0..MESSAGES_MAX {
            match self.socket.recv_from_full() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return some,
                _ => some = true, // ENOBUFS: there was more than the kernel keeps
            }
        }
        true
    }
}
