#!/usr/bin/env node
// The npm compiler behind the two calls that py-solc-x makes: --version and --standard-json.
"use strict";
const fs = require("fs");
const solc = require("solc");

if (process.argv.includes("--version")) {
  console.log("Version: " + solc.version());
} else {
  fs.writeSync(1, solc.compile(fs.readFileSync(0, "utf8")));
}
