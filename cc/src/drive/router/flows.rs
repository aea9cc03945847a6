//! Connections that go by a public address which leads elsewhere now: they end, so that none is answered by whom it
//! was not meant for.
