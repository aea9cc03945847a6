//! What becomes of an upload in parts: which checksums its parts have, and which parts make the object.

use super::checksum::{self, from_store, kept, to_store};
use crate::store::objects::{self, AssembledPart, Assembly, ETag, Facts, Part, Upload};
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::checksum::{Algorithm, Checksum, Kind, composite, full_object, multipart_etag};

const PART_BYTES_MIN: u64 = 5 << 20;
/// The name among an upload's facts.
const ASKED: &str = "checksum";

/// The checksum that an upload was begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub algorithm: Algorithm,
    pub kind: Kind,
}

/// # Errors
/// `InvalidRequest`: unknown, or two that do not go together.
pub fn asked(algorithm: Option<&str>, kind: Option<&str>) -> Result<Option<Asked>, S3Fault> {
    let Some(name) = algorithm else {
        if kind.is_some() {
            let text =
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
        return Ok(None);
    };
    let algorithm = checksum::named(name)?;
    let kind = match kind {
        Some(text) => Kind::from_name(text).ok_or_else(|| {
            S3Fault::saying(S3Code::InvalidRequest, "Value for x-amz-checksum-type header is invalid.")
        })?,
        None => algorithm.default_kind(),
    };
    algorithm.check_kind(kind)?;
    Ok(Some(Asked { algorithm, kind }))
}

impl Asked {
    pub fn to_extra(self) -> (String, String) {
        (ASKED.to_owned(), format!("{} {}", self.algorithm.name(), self.kind.name()))
    }

    pub fn of(facts: &Facts) -> Option<Self> {
        let (_, text) = facts.extra.iter().find(|(name, _)| name == ASKED)?;
        let (algorithm, kind) = text.split_once(' ')?;
        Some(Self { algorithm: Algorithm::from_name(algorithm)?, kind: Kind::from_name(kind)? })
    }

    /// That of an upload that asked for none.
    fn default() -> Self {
        Self { algorithm: checksum::DEFAULT, kind: Kind::FullObject }
    }
}

/// The checksum that every part of this upload has; `announced` is the one that this part brings.
///
/// # Errors
/// `InvalidRequest`: another than the upload was begun with.
pub fn of_part(upload: &Facts, announced: Option<Algorithm>) -> Result<Algorithm, S3Fault> {
    let Some(asked) = Asked::of(upload) else { return Ok(checksum::DEFAULT) };
    match announced {
        Some(announced) if announced != asked.algorithm => {
            let text = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                asked.algorithm.name().to_ascii_lowercase(),
                announced.name().to_ascii_lowercase()
            );
            Err(S3Fault::saying(S3Code::InvalidRequest, text))
        }
        _ => Ok(asked.algorithm),
    }
}

/// A part as the client lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub number: u16,
    pub etag: String,
    pub checksums: Vec<(Algorithm, String)>,
}

/// What the client says of the whole.
#[derive(Debug, Clone, Default)]
pub struct Final {
    pub checksum: Option<(Algorithm, String)>,
    pub kind: Option<String>,
    pub size: Option<u64>,
}

/// # Errors
/// `InvalidPartOrder`, `InvalidPart`, `EntityTooSmall`, `BadDigest`, `InvalidRequest`
pub fn assemble(
    upload: &Upload,
    parts: &[Part],
    listed: &[Listed],
    whole: &Final,
) -> Result<Assembly, S3Fault> {
    if listed.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(S3Fault::new(S3Code::InvalidPartOrder).with("UploadId", upload.id.to_string()));
    }
    let chosen: Vec<&Part> = listed.iter().map(|one| chosen(upload, parts, one)).collect::<Result<_, _>>()?;
    let last = chosen.len().saturating_sub(1);
    if let Some(small) = chosen[..last].iter().find(|part| part.size < PART_BYTES_MIN) {
        return Err(S3Fault::new(S3Code::EntityTooSmall)
            .with("ETag", small.etag.to_string())
            .with("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .with("ProposedSize", small.size.to_string())
            .with("PartNumber", small.number.to_string()));
    }
    let size: u64 = chosen.iter().map(|part| part.size).sum();
    if whole.size.is_some_and(|said| said != size) {
        let text = format!(
            "The provided 'x-amz-mp-object-size' header value {} does not match what was computed: {size}",
            whole.size.unwrap_or_default()
        );
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    let asked = Asked::of(&upload.facts).unwrap_or_else(Asked::default);
    let computed = computed(&chosen, asked);
    check_whole(whole, asked, computed.as_ref(), chosen.len())?;
    let mut facts = upload.facts.clone();
    facts.extra.retain(|(name, _)| name != ASKED);
    facts.checksums = computed.iter().filter_map(|checksum| to_store(checksum, asked.kind)).collect();
    let count = u16::try_from(chosen.len()).unwrap_or(u16::MAX);
    Ok(Assembly {
        parts: chosen.iter().map(|part| assembled(part, asked.algorithm)).collect(),
        etag: ETag { md5: multipart_etag(chosen.iter().map(|part| &part.etag.md5)), parts: count },
        facts,
    })
}

fn assembled(part: &Part, algorithm: Algorithm) -> AssembledPart {
    AssembledPart { number: part.number, checksum: of_algorithm(part, algorithm).cloned() }
}

fn chosen<'a>(upload: &Upload, parts: &'a [Part], listed: &Listed) -> Result<&'a Part, S3Fault> {
    let wrong = || {
        S3Fault::new(S3Code::InvalidPart)
            .with("UploadId", upload.id.to_string())
            .with("PartNumber", listed.number.to_string())
            .with("ETag", listed.etag.trim_matches('"'))
    };
    let at = parts.binary_search_by_key(&listed.number, |part| part.number).map_err(|_| wrong())?;
    let part = &parts[at];
    if part.etag.to_string() != listed.etag.trim().trim_matches('"') {
        return Err(wrong());
    }
    for (algorithm, text) in &listed.checksums {
        let known = of_algorithm(part, *algorithm).and_then(from_store);
        if known.is_none_or(|known| known.to_base64() != *text) {
            return Err(wrong());
        }
    }
    Ok(part)
}

fn of_algorithm(part: &Part, algorithm: Algorithm) -> Option<&objects::Checksum> {
    let kept = kept(algorithm)?;
    part.checksums.iter().find(|checksum| checksum.algorithm == kept)
}

fn computed(chosen: &[&Part], asked: Asked) -> Option<Checksum> {
    let checksums: Vec<Checksum> =
        chosen.iter().map(|part| from_store(of_algorithm(part, asked.algorithm)?)).collect::<Option<_>>()?;
    match asked.kind {
        Kind::Composite => Some(composite(asked.algorithm, &checksums)),
        Kind::FullObject => {
            let sized = checksums.iter().zip(chosen.iter().map(|part| part.size));
            full_object(asked.algorithm, sized)
        }
    }
}

fn check_whole(
    whole: &Final,
    asked: Asked,
    computed: Option<&Checksum>,
    parts: usize,
) -> Result<(), S3Fault> {
    if let Some(kind) = &whole.kind
        && *kind != asked.kind.name()
    {
        let text = format!(
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            asked.kind.name()
        );
        return Err(S3Fault::saying(S3Code::InvalidRequest, text));
    }
    let Some((algorithm, said)) = &whole.checksum else { return Ok(()) };
    let expected = computed.filter(|computed| computed.algorithm() == *algorithm);
    let expected = expected.map(|computed| match asked.kind {
        Kind::FullObject => computed.to_base64(),
        Kind::Composite => format!("{}-{parts}", computed.to_base64()),
    });
    let plain = |text: &str| text.split('-').next().unwrap_or_default().to_owned();
    let matches = expected.is_some_and(|expected| {
        expected == *said || asked.kind == Kind::Composite && plain(&expected) == *said
    });
    if matches {
        return Ok(());
    }
    let text = format!(
        "The {} you specified did not match the calculated checksum.",
        algorithm.name().to_ascii_lowercase()
    );
    Err(S3Fault::saying(S3Code::BadDigest, text))
}
