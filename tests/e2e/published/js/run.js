// Drives the JavaScript clients: node run.js PACKAGE SETTINGS. Every line of the input is
// [name, argument, …], every line of the output what came of it.
"use strict";

const readline = require("node:readline");

/** Of Ocean and of Nevermined: methods of one object. */
function publisher(name, settings) {
  const SecretStore = require(name).default;
  const client = new SecretStore({
    secretStoreUri: settings.http,
    parityUri: settings.json_rpc,
    address: settings.address,
    password: settings.password,
    threshold: settings.threshold,
  });
  return (method, values) => client[method](...values);
}

/** Energy Web's: rpc.NAME, of the JSON-RPC module, and session.NAME, of the key servers. */
function energyWeb(name, settings) {
  const clients = require(name);
  const targets = {
    rpc: new clients.SecretStoreRpcApiClient(settings.json_rpc),
    session: new clients.SecretStoreSessionClient(settings.http),
  };
  return (path, values) => {
    const [target, method] = path.split(".");
    return targets[target][method](...values);
  };
}

/** The other implementation of ECIES; all values are hexadecimal. */
function ecies(name) {
  const library = require(name);
  return async (method, values) => {
    const result = await library[method](...values.map((value) => Buffer.from(value, "hex")));
    return result.toString("hex");
  };
}

const PACKAGES = {
  "@oceanprotocol/secret-store-client": publisher,
  "@nevermined-io/secret-store-client": publisher,
  secretstore: energyWeb,
  "ecies-parity": ecies,
};

async function main() {
  const [name, settings] = process.argv.slice(2);
  const call = PACKAGES[name](name, JSON.parse(settings));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [method, ...values] = JSON.parse(line);
    let answer;
    try {
      const value = await call(method, values);
      answer = { value: value === undefined ? null : value };
    } catch (error) {
      answer = { raised: { text: error.message } };
    }
    console.log(JSON.stringify(answer));
  }
}

main();
