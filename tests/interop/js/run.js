// Signs and verifies with @noble/curves. Every line of the input is [name, argument, …], every line
// of the output what came of it; bytes are hexadecimal in both.

import readline from "node:readline";
import { secp256k1, secp256k1_FROST as FROST } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, concatBytes, hexToBytes } from "@noble/hashes/utils.js";

const { Point } = secp256k1;
const { Fn } = Point;

/** Apply a function to all values of an object. */
const mapped = (values, f) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, f(value)]));

// --- FROST --------------------------------------------------------------------------------------

const nonces = []; // of commitments that were handed out, by number

const described = (made, shares) => ({
  commitments: made.commitments.map(bytesToHex),
  verifyingShares: mapped(made.verifyingShares, bytesToHex),
  shares: mapped(shares, bytesToHex),
});

const packageOf = (key) => ({
  signers: key.signers,
  commitments: key.commitments.map(hexToBytes),
  verifyingShares: mapped(key.verifyingShares, hexToBytes),
});

const published = (commitments) =>
  commitments.map(({ identifier, hiding, binding }) => ({
    identifier,
    hiding: hexToBytes(hiding),
    binding: hexToBytes(binding),
  }));

const secretOf = (identifier, share) => ({ identifier, signingShare: hexToBytes(share) });

const frost = {
  deal(min, identifiers) {
    const made = FROST.trustedDealer({ min, max: identifiers.length }, identifiers);
    return described(
      made.public,
      mapped(made.secretShares, (secret) => secret.signingShare),
    );
  },

  generate(min, identifiers) {
    const signers = { min, max: identifiers.length };
    const first = identifiers.map((one) => FROST.DKG.round1(one, signers));
    const others = first.map((own) => first.filter((one) => one !== own).map((one) => one.public));
    const second = first.map((own, i) => FROST.DKG.round2(own.secret, others[i]));
    const keys = first.map((own, i) => {
      const received = second.filter((_, j) => j !== i).map((sent) => sent[identifiers[i]]);
      return FROST.DKG.round3(own.secret, others[i], received);
    });
    const shares = keys.map((key) => [key.secret.identifier, key.secret.signingShare]);
    return described(keys[0].public, Object.fromEntries(shares));
  },

  commit(identifier, share, ...randomness) {
    const drawn = randomness.map(hexToBytes);
    const rng = drawn.length ? () => drawn.shift() : undefined;
    const made = FROST.commit(secretOf(identifier, share), rng);
    nonces.push(made.nonces);
    const { hiding, binding } = made.commitments;
    return {
      number: nonces.length - 1,
      hiding: bytesToHex(hiding),
      binding: bytesToHex(binding),
    };
  },

  sign(number, identifier, share, key, commitments, message) {
    const list = published(commitments);
    const secret = secretOf(identifier, share);
    const text = hexToBytes(message);
    return bytesToHex(FROST.signShare(secret, packageOf(key), nonces[number], list, text));
  },

  verifyShare(key, commitments, message, identifier, part) {
    const list = published(commitments);
    const text = hexToBytes(message);
    return FROST.verifyShare(packageOf(key), list, text, identifier, hexToBytes(part));
  },

  aggregate(key, commitments, message, parts) {
    const list = published(commitments);
    const text = hexToBytes(message);
    return bytesToHex(FROST.aggregate(packageOf(key), list, text, mapped(parts, hexToBytes)));
  },

  verify: (signature, message, key) =>
    FROST.verify(hexToBytes(signature), hexToBytes(message), hexToBytes(key)),
};

// --- ECDSA --------------------------------------------------------------------------------------

const asItIs = { prehash: false };

const ecdsa = {
  /** The signature is r || s; high s is refused. */
  verify: (signature, digest, key) =>
    secp256k1.verify(hexToBytes(signature), hexToBytes(digest), hexToBytes(key), asItIs),

  /** The signature is r || s || v; the library wants v first. */
  recover(signature, digest) {
    const bytes = hexToBytes(signature);
    const vFirst = concatBytes(bytes.slice(64), bytes.slice(0, 64));
    return bytesToHex(secp256k1.recoverPublicKey(vFirst, hexToBytes(digest), asItIs));
  },
};

// --- the original's Schnorr form, from its definition -------------------------------------------

const challengeOf = (digest, nonce) => {
  const x = nonce.toBytes(false).slice(1, 33);
  return Fn.create(BigInt("0x" + bytesToHex(keccak_256(concatBytes(digest, x)))));
};

const original = {
  /** The signature is c || s. */
  verify(signature, digest, key) {
    const bytes = hexToBytes(signature);
    const [c, s] = [Fn.fromBytes(bytes.slice(0, 32)), Fn.fromBytes(bytes.slice(32))];
    const public_ = Point.fromHex(key);
    const nonce = Point.BASE.multiplyUnsafe(s).add(public_.multiplyUnsafe(c));
    return challengeOf(hexToBytes(digest), nonce) === c;
  },

  sign(secret, digest) {
    const k = Fn.fromBytes(secp256k1.utils.randomSecretKey());
    const c = challengeOf(hexToBytes(digest), Point.BASE.multiply(k));
    const s = Fn.sub(k, Fn.mul(c, Fn.fromBytes(hexToBytes(secret))));
    return bytesToHex(concatBytes(Fn.toBytes(c), Fn.toBytes(s)));
  },
};

const targets = { frost, ecdsa, original };

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [path, ...values] = JSON.parse(line);
  const [target, method] = path.split(".");
  let answer;
  try {
    answer = { value: targets[target][method](...values) };
  } catch (error) {
    answer = { raised: { text: error.message } };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
