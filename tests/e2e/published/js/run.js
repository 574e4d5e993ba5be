// Drives the JavaScript clients: node run.js PACKAGE SETTINGS. Every line of the input is
// [name, argument, …], every line of the output what came of it.
"use strict";

const readline = require("node:readline");

console.log = console.error; // the output is for answers; some clients report failures there

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

/** Energy Web's older one, which takes the provider of a web3 that its user brings. */
function olderEnergyWeb(name, settings) {
  const clients = require(name);
  const HttpProvider = require("web3-providers-http");
  const web3 = { currentProvider: new HttpProvider(settings.json_rpc) };
  const rpc = new clients.SecretStore(web3, settings.http);
  const targets = { rpc, session: rpc.session };
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
  "secretstore-0.1.0": olderEnergyWeb,
  "secretstore-0.0.3": olderEnergyWeb,
  "ecies-parity": ecies,
};

/** What a client says went wrong; with the raw answer, if it passes that on. */
function raised(error) {
  const response = error.response;
  return response === undefined
    ? { text: error.message }
    : { text: error.message, status: response.statusCode, body: response.body };
}

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
      answer = { raised: raised(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

main();
