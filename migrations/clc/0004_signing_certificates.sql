-- What users sign image bundles with: certificates only, the private keys stay with the users.
CREATE TABLE signing_certificates (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    user_name TEXT NOT NULL,
    -- SHA-256, hex: a certificate belongs to one user.
    fingerprint TEXT NOT NULL UNIQUE,
    pem TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    FOREIGN KEY (account, user_name) REFERENCES users (account, name) ON DELETE CASCADE
);
CREATE INDEX signing_certificates_by_account ON signing_certificates (account);

-- What S3's access control lists may name an account by; lower-case.
ALTER TABLE accounts ADD COLUMN email TEXT;
CREATE UNIQUE INDEX accounts_by_email ON accounts (email);
