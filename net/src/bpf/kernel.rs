//! Programs and maps in the kernel. Both are there as long as somebody has them: this process, or a link that a program is
//! attached to, which also has the program's maps.

use std::ffi::CString;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const MAP_CREATE: i64 = 0;
const MAP_UPDATE: i64 = 2;
const PROGRAM_LOAD: i64 = 5;
const INFORMATION: i64 = 15;
const ARRAY: u32 = 2;
const LRU_HASH: u32 = 9;
const CLASSIFIER: u32 = 3;
const NAME_BYTES: usize = 16;
const COMPLAINT_BYTES: usize = 64 * 1024;
/// Of a complaint the end says what is wrong.
const COMPLAINT_TOLD_BYTES: usize = 400;
/// Programs call nothing that is for GPL programs alone.
const LICENSE: &str = "Apache-2.0";

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; NAME_BYTES],
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    complaint_level: u32,
    complaint_bytes: u32,
    complaint: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
}

#[repr(C)]
struct Information {
    of: u32,
    bytes: u32,
    place: u64,
}

/// As the kernel takes names: letters, digits and few signs, and a 0 at the end.
fn name_of(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (to, from) in bytes[..NAME_BYTES - 1].iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() { from } else { b'_' };
    }
    bytes
}

fn address<T: ?Sized>(of: *const T) -> u64 {
    of.cast::<u8>() as u64
}

/// Every address within `attributes` must be good for what `command` reads and writes there.
#[expect(unsafe_code, reason = "the call has no other form")]
unsafe fn call<T>(command: i64, attributes: &mut T) -> Result<i32> {
    // SAFETY: the kernel reads and writes so many bytes of `attributes`; for addresses within it see above.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(Error::last_os_error()) } else { i32::try_from(answer).map_err(Error::other) }
}

/// A descriptor that the kernel has just made.
#[expect(unsafe_code, reason = "the call has no other form")]
unsafe fn make<T>(command: i64, attributes: &mut T) -> Result<OwnedFd> {
    // SAFETY: as the caller's; what the kernel makes here belongs to nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(call(command, attributes)?)) }
}

#[derive(Debug)]
pub struct Map {
    descriptor: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

impl Map {
    /// One value.
    pub fn single(name: &str, value_bytes: u32) -> Result<Self> {
        Self::create(name, ARRAY, 4, value_bytes, 1)
    }

    /// When it is full, what was not asked for longest makes room.
    pub fn recent(name: &str, key_bytes: u32, value_bytes: u32, entries_max: u32) -> Result<Self> {
        Self::create(name, LRU_HASH, key_bytes, value_bytes, entries_max)
    }

    #[expect(unsafe_code, reason = "the call has no other form")]
    fn create(name: &str, kind: u32, key_bytes: u32, value_bytes: u32, entries_max: u32) -> Result<Self> {
        let name = name_of(name);
        let mut wanted =
            MapCreate { kind, key_bytes, value_bytes, entries_max, name, ..MapCreate::default() };
        // SAFETY: there is no address within.
        let descriptor = unsafe { make(MAP_CREATE, &mut wanted) }?;
        Ok(Self { descriptor, key_bytes: key_bytes as usize, value_bytes: value_bytes as usize })
    }

    #[expect(unsafe_code, reason = "the call has no other form")]
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if (key.len(), value.len()) != (self.key_bytes, self.value_bytes) {
            return Err(Error::new(ErrorKind::InvalidInput, "a map with entries of another size"));
        }
        let map = self.descriptor().unsigned_abs();
        let mut entry = MapUpdate { map, padding: 0, key: address(key), value: address(value), flags: 0 };
        // SAFETY: the kernel reads as many bytes of both as the map was made for, and so many there are.
        unsafe { call(MAP_UPDATE, &mut entry) }.map(drop)
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

/// For packets at a link, by [`crate::Netlink::attach`].
#[derive(Debug)]
pub struct Program {
    descriptor: OwnedFd,
    /// By which the kernel knows it.
    pub id: u32,
}

impl Program {
    /// `code`: of [`super::Assembler::finish`]. The kernel follows every way through it, and refuses one that reads what
    /// is not there.
    #[expect(unsafe_code, reason = "the call has no other form")]
    pub fn load(name: &str, code: &[u8]) -> Result<Self> {
        let license = CString::new(LICENSE)?;
        let mut complaint = vec![0_u8; COMPLAINT_BYTES];
        let mut wanted = ProgramLoad {
            kind: CLASSIFIER,
            instructions: u32::try_from(code.len() / 8).map_err(Error::other)?,
            code: address(code),
            license: address(license.as_ptr()),
            complaint_level: 0,
            complaint_bytes: 0,
            complaint: 0,
            kernel_version: 0,
            flags: 0,
            name: name_of(name),
        };
        // SAFETY: so many instructions are in `code`, and the license ends with a 0.
        let made = unsafe { make(PROGRAM_LOAD, &mut wanted) };
        let descriptor = match made {
            Err(error)
                if error.kind() != ErrorKind::PermissionDenied && error.kind() != ErrorKind::InvalidInput =>
            {
                return Err(error);
            }
            Err(_) => {
                wanted.complaint_level = 1;
                wanted.complaint_bytes = COMPLAINT_BYTES as u32;
                wanted.complaint = address(complaint.as_mut_slice());
                // SAFETY: as above; the kernel writes no more than so many bytes of complaint.
                unsafe { make(PROGRAM_LOAD, &mut wanted) }.map_err(|error| explained(&error, &complaint))?
            }
            Ok(made) => made,
        };
        let id = id_of(&descriptor)?;
        Ok(Self { descriptor, id })
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

fn explained(error: &Error, complaint: &[u8]) -> Error {
    let text = String::from_utf8_lossy(complaint);
    let text = text.trim_end_matches('\0').trim();
    let from = text.len().saturating_sub(COMPLAINT_TOLD_BYTES);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    Error::new(error.kind(), format!("{error}: {}", text[from..].replace('\n', " | ")))
}

#[expect(unsafe_code, reason = "the call has no other form")]
fn id_of(program: &OwnedFd) -> Result<u32> {
    let mut told = [0_u32; 2]; // its kind, its id, and much that is not asked for
    let mut question = Information {
        of: program.as_raw_fd().unsigned_abs(),
        bytes: size_of_val(&told) as u32,
        place: address(told.as_mut_slice()),
    };
    // SAFETY: the kernel writes no more bytes than there are.
    unsafe { call(INFORMATION, &mut question) }?;
    Ok(told[1])
}
