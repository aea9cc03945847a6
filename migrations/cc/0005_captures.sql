-- How far the copy of an instance's root disk is, as its node last told.
ALTER TABLE instances ADD COLUMN capture TEXT;
