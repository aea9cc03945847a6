-- JSON of what a launch said that is only told again, such as the description of its interface.
ALTER TABLE instances ADD COLUMN said TEXT NOT NULL DEFAULT '{}';
