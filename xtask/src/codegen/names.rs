//! Names: AWS's member and shape names to Rust's.

/// Spellings that the word rule below would tear apart.
const UNITS: &[(&str, &str)] = &[
    ("MiB", "Mib"),
    ("GiB", "Gib"),
    ("MBps", "Mbps"),
    ("IOPs", "Iops"),
    ("ETag", "Etag"),
    ("CRC32C", "Crc32c"),
    ("CRC64NVME", "Crc64nvme"),
    ("SSEKMS", "SseKms"),
];

/// `VCpuInfo` → `v_cpu_info`, `Ipv6Addresses` → `ipv6_addresses`.
pub fn snake(name: &str) -> String {
    let mut name = name.to_string();
    for (from, to) in UNITS {
        name = name.replace(from, to);
    }
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let after_word = at > 0 && !chars[at - 1].is_uppercase() && chars[at - 1] != '_';
        let ends_acronym = at > 0
            && chars[at - 1].is_uppercase()
            && chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_word || ends_acronym) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// A member name as a Rust field.
pub fn field(name: &str) -> String {
    let name = snake(name);
    match name.as_str() {
        "type" | "return" | "match" | "ref" | "use" | "move" | "async" | "where" => format!("r#{name}"),
        _ => name,
    }
}

/// An enum value as a Rust constant: `pending-reboot` → `PENDING_REBOOT`, `1.0` → `V1_0`.
pub fn constant(value: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut name: String = value.chars().map(word).collect();
    if name.starts_with(|c: char| !c.is_ascii_alphabetic()) {
        name.insert(0, 'V');
    }
    name
}

pub fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_become_fields() {
        for (name, expected) in [
            ("InstanceIds", "instance_ids"),
            ("VCpuInfo", "v_cpu_info"),
            ("Ipv6Addresses", "ipv6_addresses"),
            ("SizeInMiB", "size_in_mib"),
            ("ENASupport", "ena_support"),
            ("SSECustomerKeyMD5", "sse_customer_key_md5"),
            ("SSEKMSKeyId", "sse_kms_key_id"),
            ("ChecksumCRC32C", "checksum_crc32c"),
            ("ETag", "etag"),
            ("Type", "r#type"),
        ] {
            assert_eq!(field(name), expected);
        }
    }

    #[test]
    fn enum_values_become_constants() {
        for (value, expected) in
            [("shutting-down", "SHUTTING_DOWN"), ("1.0", "V1_0"), ("Linux/UNIX", "LINUX_UNIX")]
        {
            assert_eq!(constant(value), expected);
        }
    }
}
