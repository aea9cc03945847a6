//! What botocore needs to judge the wire types: dumps of what was decoded, random answers.
//!
//! Built only with the `judge` feature, for tests. Dumps speak in the model's member names, so that
//! they compare with botocore's own view of the same request or answer. `serve` answers the questions
//! of `tests/clients/botocore_judge.py`, one JSON object per line.

pub mod rest;

use super::envelope::Blame;
use super::filter::Filter;
use super::{Action, Params, Service, WireFault, decode, ec2, envelope, sts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use std::io::{BufRead, Result as IoResult, Write};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub type Judged<T> = Result<T, WireFault>;

/// How deep random answers go before everything optional is left out.
const DEPTH_MAX: usize = 8;

/// Characters that break naive escaping, encoding and trimming.
const LETTERS: &[char] = &[
    'a', 'Z', '0', '-', '_', '.', '/', ':', ' ', '&', '<', '>', '"', '\'', '%', '+', '=', 'é', '中', '𝄞', ']',
];

/// Answers questions until the other side closes.
pub fn serve(questions: impl BufRead, mut answers: impl Write) -> IoResult<()> {
    for line in questions.lines() {
        let question: Value = serde_json::from_str(&line?)?;
        writeln!(answers, "{}", reply(&question))?;
        answers.flush()?;
    }
    Ok(())
}

fn reply(question: &Value) -> Value {
    let text = |key: &str| question[key].as_str().unwrap_or_default();
    if text("service") == "s3" {
        return rest::reply(question);
    }
    let service = if text("service") == "sts" { Service::Sts } else { Service::Ec2 };
    match text("do") {
        "actions" if service == Service::Ec2 => json!(ec2::ACTIONS),
        "actions" => json!(sts::ACTIONS),
        "ask" => ask(service, text("form"))
            .unwrap_or_else(|fault| json!({ "fault": { "code": fault.code, "message": fault.message } })),
        "answer" => answer(service, text("action"), question["seed"].as_u64().unwrap_or_default()),
        "fault" => {
            json!(envelope::fault(service, Blame::Sender, text("code"), text("message"), "the-request-id"))
        }
        other => json!({ "unknown": other }),
    }
}

fn ask(service: Service, form: &str) -> Judged<Value> {
    let params = Params::parse(form.as_bytes())?;
    service.asked_version(&params)?;
    let unknown = service.no_such_action(&params);
    let action = params.action().unwrap_or_default().to_string();
    let seen = match service {
        Service::Ec2 => ec2::generated::judge::ask(&action, params),
        Service::Sts => sts::generated::judge::ask(&action, params),
    };
    Ok(json!({ "value": seen.unwrap_or_else(|| Err(unknown))? }))
}

fn answer(service: Service, action: &str, seed: u64) -> Value {
    let mut dice = Dice::new(seed);
    let made = match service {
        Service::Ec2 => ec2::generated::judge::answer(action, &mut dice),
        Service::Sts => sts::generated::judge::answer(action, &mut dice),
    };
    made.map_or(Value::Null, |(xml, value)| json!({ "xml": xml, "value": value }))
}

/// Reads a request as the edge does, and tells what was seen.
pub fn asked<A: Action + Dump>(params: Params) -> Judged<Value> {
    decode::<A>(params).map(|request| request.dump())
}

/// A random answer: its XML, and what is in it.
pub fn answered<A: Action<Output: Sample + Dump>>(dice: &mut Dice) -> (String, Value) {
    let output = A::Output::sample(dice);
    let xml = envelope::answer::<A>(&output, A::SERVICE.newest_version(), "the-request-id");
    (xml, output.dump())
}

/// The model's view of a value, as JSON.
pub trait Dump {
    fn dump(&self) -> Value;
}

/// A random value.
pub trait Sample: Sized {
    fn sample(dice: &mut Dice) -> Self;
}

/// Collects the members of a structure that are there.
#[derive(Default)]
pub struct Sheet(Map<String, Value>);

impl Sheet {
    pub fn required<T: Dump>(&mut self, name: &str, value: &T) {
        self.0.insert(name.to_string(), value.dump());
    }

    pub fn optional<T: Dump>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.required(name, value);
        }
    }

    pub fn list<T: Dump>(&mut self, name: &str, values: &[T]) {
        self.0.insert(name.to_string(), values.iter().map(Dump::dump).collect());
    }

    pub fn sparse_list<T: Dump>(&mut self, name: &str, values: &Option<Vec<T>>) {
        if let Some(values) = values {
            self.list(name, values);
        }
    }

    pub fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// A seeded source of values. Seed 0 leaves nothing out, so that every member is seen at least once.
pub struct Dice {
    rng: StdRng,
    depth: usize,
    full: bool,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), depth: 0, full: seed == 0 }
    }

    fn below<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> T {
        self.depth += 1;
        let value = make(self);
        self.depth -= 1;
        value
    }

    fn present(&mut self) -> bool {
        self.depth < DEPTH_MAX && (self.full || self.rng.gen_bool(0.7))
    }

    fn count(&mut self) -> usize {
        match self.full {
            _ if self.depth >= DEPTH_MAX => 0,
            true => 1,
            false => self.rng.gen_range(0..3),
        }
    }

    pub fn required<T: Sample>(&mut self) -> T {
        self.below(T::sample)
    }

    pub fn optional<T: Sample>(&mut self) -> Option<T> {
        self.present().then(|| self.required())
    }

    pub fn list<T: Sample>(&mut self) -> Vec<T> {
        (0..self.count()).map(|_| self.required()).collect()
    }

    pub fn sparse_list<T: Sample>(&mut self) -> Option<Vec<T>> {
        self.present().then(|| self.list())
    }

    /// A text that a header can carry, and that nobody trims.
    pub fn optional_header(&mut self) -> Option<String> {
        self.present().then(|| self.header())
    }

    fn header(&mut self) -> String {
        let text: String = self.required();
        format!("h{text}h")
    }

    /// A time without a fraction.
    pub fn optional_second(&mut self) -> Option<OffsetDateTime> {
        let at: Option<OffsetDateTime> = self.optional();
        at.and_then(|at| at.replace_nanosecond(0).ok())
    }

    pub fn required_of(&mut self, choices: &[&str]) -> String {
        choices[self.rng.gen_range(0..choices.len())].to_string()
    }

    pub fn optional_of(&mut self, choices: &[&str]) -> Option<String> {
        self.present().then(|| self.required_of(choices))
    }

    pub fn list_of(&mut self, choices: &[&str]) -> Vec<String> {
        (0..self.count()).map(|_| self.required_of(choices)).collect()
    }

    pub fn sparse_list_of(&mut self, choices: &[&str]) -> Option<Vec<String>> {
        self.present().then(|| self.list_of(choices))
    }
}

impl Sample for String {
    fn sample(dice: &mut Dice) -> Self {
        let length = dice.rng.gen_range(0..12);
        (0..length).map(|_| LETTERS[dice.rng.gen_range(0..LETTERS.len())]).collect()
    }
}

impl Sample for bool {
    fn sample(dice: &mut Dice) -> Self {
        dice.rng.r#gen()
    }
}

impl Sample for i32 {
    fn sample(dice: &mut Dice) -> Self {
        dice.rng.r#gen()
    }
}

impl Sample for i64 {
    fn sample(dice: &mut Dice) -> Self {
        dice.rng.r#gen()
    }
}

impl Sample for f64 {
    fn sample(dice: &mut Dice) -> Self {
        dice.rng.gen_range(-1e9..1e9)
    }
}

impl Sample for Vec<u8> {
    fn sample(dice: &mut Dice) -> Self {
        (0..dice.rng.gen_range(0..40)).map(|_| dice.rng.r#gen()).collect()
    }
}

impl Sample for OffsetDateTime {
    fn sample(dice: &mut Dice) -> Self {
        let millis: i128 = dice.rng.gen_range(0..4_000_000_000_000);
        Self::from_unix_timestamp_nanos(millis * 1_000_000).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl Sample for super::Done {
    fn sample(_: &mut Dice) -> Self {
        Self
    }
}

impl Dump for super::Done {
    fn dump(&self) -> Value {
        json!({})
    }
}

impl Dump for String {
    fn dump(&self) -> Value {
        json!(self)
    }
}

impl Dump for bool {
    fn dump(&self) -> Value {
        json!(self)
    }
}

impl Dump for i32 {
    fn dump(&self) -> Value {
        json!(self)
    }
}

impl Dump for i64 {
    fn dump(&self) -> Value {
        json!(self)
    }
}

impl Dump for f64 {
    fn dump(&self) -> Value {
        json!(self)
    }
}

impl Dump for Vec<u8> {
    fn dump(&self) -> Value {
        json!(STANDARD.encode(self))
    }
}

impl Dump for OffsetDateTime {
    fn dump(&self) -> Value {
        json!(self.format(&Rfc3339).unwrap_or_default())
    }
}

impl Dump for Filter {
    fn dump(&self) -> Value {
        let mut sheet = Sheet::default();
        sheet.required("Name", &self.name);
        sheet.list("Values", &self.values);
        sheet.done()
    }
}
