-- No two available images of an account have one name, whoever registers them at the same time.
CREATE UNIQUE INDEX images_by_name ON images (account, name) WHERE state = 'available';
