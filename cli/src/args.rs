//! The command line: what can be typed, with its help. No behaviour.

use crate::output::Format;
use clap::{Args, Parser, Subcommand};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// A mistake in how the command was called that only shows after parsing: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

#[derive(Debug, Parser)]
#[command(
    name = "karri",
    version,
    about = "Karri, an EC2-compatible cloud on your own machines",
    after_help = "Examples:\n  \
        karri up                      a cloud on this machine (root)\n  \
        karri up --sim 5              the same over five simulated nodes (no root)\n  \
        eval \"$(karri env)\"           point aws-cli, boto3 and euca2ools at it\n  \
        karri status                  its controllers, zones and capacity\n  \
        karri why i-0123456789abcdef0 what happened to an instance\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Arguments {
    /// Where the cloud keeps its state [default: /var/lib/karri for root, else ~/.local/share/karri; with
    /// `-sim` appended for a simulated cloud]
    #[arg(long, global = true, value_name = "DIR", env = "KARRI_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// How data is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub output: Format,

    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(Up),
    Down(Down),
    Env(Env),
    Status(Status),
    /// Import images, list and delete them
    #[command(subcommand, after_help = IMAGE_EXAMPLES)]
    Image(Image),
    Why(Why),
    /// Create, list and delete accounts
    #[command(subcommand)]
    Account(Account),
    /// Create, list and delete the users of an account
    #[command(subcommand)]
    User(User),
    /// Create, list and delete access keys
    #[command(subcommand)]
    Key(Key),
    /// Create, list and delete the certificates that users bundle images with
    #[command(subcommand)]
    Cert(Cert),
    /// Let another machine be a cluster of the cloud
    #[command(subcommand)]
    Cluster(Cluster),
    /// Let another machine join the cloud as a node
    #[command(subcommand, after_help = NODE_EXAMPLES)]
    Node(Node),
    /// Show the way of a packet, and what drops it
    #[command(subcommand, after_help = NET_EXAMPLES)]
    Net(Net),
    /// Back up the store of objects, and prove one consistent
    #[command(subcommand, after_help = WALRUS_EXAMPLES)]
    Walrus(Walrus),
}

/// Bring a cloud up on this machine and keep it running until Ctrl-C
///
/// Makes what is missing (certificates, configuration, the account `admin`, a demo image), starts the
/// four controllers, and restarts one that dies. Guests outlive it: the next `up` adopts them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    karri up\n  \
    karri up --sim 5\n  \
    karri up --sim 100 --zones karri-1a,karri-1b --port-base 0\n  \
    karri up --address 192.0.2.10     so that other machines can join and call\n\n\
    A configuration file that you edited is never overwritten.")]
pub struct Up {
    /// Simulated nodes per zone instead of this machine: no libvirt, no root
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub sim: Option<u32>,
    /// First of the ports that the controllers use; 0 picks free ones [default: 8773]
    ///
    /// The first port is the EC2 endpoint, the second the S3 endpoint. Chosen once; a later `up` keeps the ports.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(..=65_000))]
    pub port_base: Option<u16>,
    /// The address to listen on and to be reached by [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// The region's name [default: karri-1]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Availability zones, one cluster each; more than one only with --sim [default: REGION + "a"]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub zones: Vec<String>,
    /// Where the demo image is [default: images/ beside or above the program, /usr/share/karri/images]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
}

/// Stop the cloud; with --terminate also remove everything it made on this machine
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    karri down                    guests keep running; the next `up` adopts them\n  \
    karri down --terminate        shows what will be removed, then asks\n  \
    karri down --terminate --yes")]
pub struct Down {
    /// Remove guests, disks, taps, bridges, rules and all state of this cloud, and nothing else
    #[arg(long)]
    pub terminate: bool,
    /// Do not ask
    #[arg(long, short, requires = "terminate")]
    pub yes: bool,
}

/// Print shell commands that point AWS clients at this cloud
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eval \"$(karri env)\" && aws ec2 describe-instances")]
pub struct Env {}

/// Show the controllers, the zones with their nodes and free capacity, and instance counts
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  karri status\n  karri status --output json")]
pub struct Status {}

/// Tell the story of an instance or a request, across all controllers
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    karri why i-0123456789abcdef0\n  \
    karri why 4f1c2f3e-0b6a-4a55-9d3c-1f0f6f0d2b11     the RequestId of an answer")]
pub struct Why {
    /// An instance id or a request id
    pub id: String,
}

const IMAGE_EXAMPLES: &str = "Examples:\n  \
    karri image import debian-12.qcow2 --name debian-12\n  \
    karri image import https://example.org/disk.vmdk\n  \
    karri image import root.img --name mine --kernel vmlinuz --ramdisk initrd.img\n  \
    karri image list --output json\n  \
    karri image delete debian-12";

#[derive(Debug, Subcommand)]
pub enum Image {
    Import(ImageImport),
    /// List the registered images
    List,
    /// Delete an image
    ///
    /// Nobody is shown it any more or can start it. Instances that were started from it go on; they are named, and
    /// its bytes stay in the image store until they and every other image on the same bytes are gone.
    #[command(after_help = IMAGE_EXAMPLES)]
    Delete {
        /// An id (ami-, aki-, ari-) or a name
        #[arg(value_name = "ID|NAME")]
        image: String,
    },
}

/// Import a disk image (raw, qcow2, vmdk, vhd or vhdx, found by content) and register it
#[derive(Debug, Args)]
#[command(after_help = IMAGE_EXAMPLES)]
pub struct ImageImport {
    /// A file, or an http(s) URL
    pub source: String,
    /// The image's name [default: the file's name without its extension]
    #[arg(long)]
    pub name: Option<String>,
    /// The image is a root file system that this kernel boots: a file, a URL or an aki- id
    #[arg(long, value_name = "SOURCE")]
    pub kernel: Option<String>,
    /// The ramdisk that goes with the kernel: a file, a URL or an ari- id
    #[arg(long, value_name = "SOURCE", requires = "kernel")]
    pub ramdisk: Option<String>,
    #[arg(long, default_value = "x86_64", value_name = "NAME")]
    pub architecture: String,
}

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Create an account
    #[command(after_help = "Example:\n  karri account create physics")]
    Create {
        name: String,
        /// Its users may act on every account's resources
        #[arg(long)]
        administrator: bool,
        /// An address that S3's access control lists may name it by
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
    },
    /// List the accounts
    List,
    /// Delete an account with its users and their keys
    ///
    /// Refused while it has instances or owns buckets, while it has images or key pairs (but see --force), and if
    /// nobody could administer the cloud afterwards.
    Delete {
        /// Name or number
        account: String,
        /// Its images and key pairs go too; never its buckets
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Create a user
    #[command(after_help = "Examples:\n  \
        karri user create ada --account physics --policy PowerUserAccess\n  \
        karri user create eve --account physics --policy read-only.json")]
    Create {
        name: String,
        #[arg(long, default_value = "admin")]
        account: String,
        /// A built-in policy's name, or a file with an IAM policy document; without one the user may do
        /// nothing
        #[arg(long = "policy", value_name = "NAME|FILE")]
        policies: Vec<String>,
    },
    /// List an account's users
    List {
        #[arg(long, default_value = "admin")]
        account: String,
    },
    /// Delete a user and its keys
    Delete {
        name: String,
        #[arg(long, default_value = "admin")]
        account: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Create an access key; its secret is shown this once
    #[command(after_help = "Example:\n  karri key create --account physics --user ada")]
    Create {
        #[arg(long, default_value = "admin")]
        account: String,
        #[arg(long)]
        user: String,
    },
    /// List an account's access keys, without their secrets
    List {
        #[arg(long, default_value = "admin")]
        account: String,
    },
    /// Delete an access key
    Delete { access_key_id: String },
}

#[derive(Debug, Subcommand)]
pub enum Cert {
    /// Create a certificate and its private key, for euca-bundle-image and its like
    ///
    /// Writes euca-user-cert.pem, euca-user-pk.pem and the cloud's cloud-cert.pem. The private key is nowhere
    /// else: the cloud keeps the certificate only.
    #[command(after_help = "Example:\n  karri cert create --account physics --user ada --directory ada-keys")]
    Create {
        #[arg(long, default_value = "admin")]
        account: String,
        #[arg(long)]
        user: String,
        /// Where the files go
        #[arg(long, default_value = ".", value_name = "DIR")]
        directory: PathBuf,
    },
    /// List the certificates of an account's users
    List {
        #[arg(long, default_value = "admin")]
        account: String,
    },
    /// Delete a certificate: bundles that were signed with it are no longer taken
    Delete { id: String },
}

const NET_EXAMPLES: &str = "Examples:\n  \
    karri net show eni-0123456789abcdef0            what there is on the way of its packets\n  \
    karri net show i-0123456789abcdef0              of all its interfaces\n  \
    karri net show subnet-0123456789abcdef0 --from 10.0.0.5 --to 10.0.1.7 --proto tcp --port 22";

#[derive(Debug, Subcommand)]
pub enum Net {
    /// Show the stations on the way of a subnet's, an interface's or an instance's packets
    ///
    /// With a packet: what lets it through at each station, or drops it. Beside what was decided stands what kernels have
    /// there, with the packets that each rule has counted: `>` is before the rule that decides, `!` before what is not as it
    /// is wanted.
    #[command(after_help = NET_EXAMPLES)]
    Show {
        /// subnet-…, eni-… or i-…
        about: String,
        /// Who sends the packet
        #[arg(long, value_name = "ADDRESS", requires_all = ["to", "proto"])]
        from: Option<Ipv4Addr>,
        /// To whom
        #[arg(long, value_name = "ADDRESS", requires = "from")]
        to: Option<Ipv4Addr>,
        /// tcp, udp, icmp or a number
        #[arg(long, requires = "from")]
        proto: Option<String>,
        /// To which port; of ICMP the type
        #[arg(long, requires = "from")]
        port: Option<u16>,
    },
}

const NODE_EXAMPLES: &str = "Examples:\n  \
    karri node token --zone karri-1a          on the cloud's machine\n  \
    karri node join TOKEN --start             on the new node\n  \
    karri node list\n  \
    karri node forget attic                   a node that will not come back";

#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Write the key and certificate of a cluster controller on another machine
    ///
    /// The same command again leaves them as they are while they are good, and later makes new ones.
    #[command(after_help = "Example:\n  karri cluster certificate karri-1a-east --directory east-keys")]
    Certificate {
        /// The cluster's name
        name: String,
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Make a join token for a zone
    Token {
        /// Or a cluster that extends one [default: the only zone]
        #[arg(long)]
        zone: Option<String>,
        /// How long it is good for
        #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
        valid: u32,
        /// The node may take the name of one that the zone has: the same machine again, or its successor
        #[arg(long)]
        replace: bool,
    },
    Join(NodeJoin),
    /// List the nodes of all zones
    List,
    /// Forget a node that is gone for good
    ///
    /// Refused while the node answers (stop its controller first), and while instances are placed on it.
    /// Its certificate is refused from then on. Should it ever return, it has to join with a new token; then what
    /// still runs there is terminated, however late that is.
    Forget {
        name: String,
        /// Or the cluster [default: the only one with a node of that name]
        #[arg(long)]
        zone: Option<String>,
        /// Its instances are lost: they become `terminated`
        #[arg(long)]
        force: bool,
    },
}

/// Make this machine a node of the cloud that printed TOKEN
#[derive(Debug, Args)]
#[command(after_help = NODE_EXAMPLES)]
pub struct NodeJoin {
    pub token: String,
    /// The node's name [default: this machine's host name]
    #[arg(long)]
    pub name: Option<String>,
    /// The address the cluster controller reaches this node by [default: the one that reaches the cloud]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// The port of the node controller; it is observed on the next. 0 picks free ones
    #[arg(long, default_value_t = 8776, value_parser = clap::value_parser!(u16).range(0..=65_534))]
    pub port: u16,
    /// Simulated nodes instead of this machine's hypervisor
    #[arg(long)]
    pub sim: bool,
    /// Run the node controller at once, in the foreground
    #[arg(long)]
    pub start: bool,
}

const WALRUS_EXAMPLES: &str = "Examples:\n  \
    karri walrus backup /backup/monday       while the cloud runs\n  \
    karri walrus check /backup/monday        the copy is whole\n  \
    karri down && karri walrus check         the store itself";

#[derive(Debug, Subcommand)]
pub enum Walrus {
    Check(WalrusCheck),
    Backup(WalrusBackup),
}

/// Prove a store of objects consistent that no walrus uses
///
/// Reads all of it: every row and every byte must verify, everything that is kept must belong to one object,
/// and the counts must agree. Changes nothing and needs no free space. Each problem is told, with the objects that it
/// concerns; then the exit code is 1, as it is while a walrus uses the store.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    karri down && karri walrus check\n  \
    karri walrus check /backup/monday --output json")]
pub struct WalrusCheck {
    /// A backup, a walrus' state directory or the store in it [default: this cloud's]
    pub directory: Option<PathBuf>,
    /// The walrus' configuration, which says where larger objects lie
    ///
    /// [default: this cloud's for its own store; in the directory for another one, as in a backup]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Copy the store of objects while it is used
///
/// The copy is of one instant, and a store itself: put it in place of `walrus/s3` in the cloud's state directory
/// and it is served. On the file system of the store its larger objects are linked and not copied, which
/// is no help when that disk is lost. Master keys (keys/) and image blobs are not in it. Should this command be
/// interrupted, walrus goes on; called again with the same DIR it shows how far that is.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    karri walrus backup /backup/$(date +%F) && karri walrus check /backup/$(date +%F)")]
pub struct WalrusBackup {
    /// Empty or not there; on walrus' machine
    pub directory: PathBuf,
}
