//! S3's signatures, framed bodies and forms, judged by what AWS publishes, by requests of real clients, and
//! by what AWS was seen to answer.

mod answers;
mod chunks;
mod clients;
mod forms;
mod published;
mod support;
