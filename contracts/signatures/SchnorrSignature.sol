// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Schnorr signatures of the original network, 64 bytes: c (32) and s (32).
///
/// With the nonce point R they are valid where c = keccak256(hash, R.x) mod n and s*G + c*P = R.
library SchnorrSignature {
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    /// Whether the key with this x coordinate and parity of y has signed the hash.
    ///
    /// `signature` may be any bytes, `noncePublic` has 64. The precompile for ECDSA gives the address
    /// of (s' * P - e * G) / P.x; with e = -s * P.x and s' = c * P.x that is the one of s*G + c*P.
    function isBy(
        bytes32 publicX,
        bool publicYIsOdd,
        bytes32 messageHash,
        bytes calldata signature,
        bytes calldata noncePublic
    ) internal pure returns (bool) {
        if (signature.length != 64) return false;
        uint256 c = uint256(bytes32(signature[:32]));
        uint256 s = uint256(bytes32(signature[32:]));
        uint256 x = uint256(publicX);
        if (c == 0 || s >= ORDER || x >= ORDER) return false;
        if (c != uint256(keccak256(abi.encodePacked(messageHash, noncePublic[:32]))) % ORDER) return false;
        bytes32 e = bytes32((ORDER - mulmod(s, x, ORDER)) % ORDER);
        address recovered =
            ecrecover(e, publicYIsOdd ? 28 : 27, publicX, bytes32(mulmod(c, x, ORDER)));
        return recovered != address(0)
            && recovered == address(uint160(uint256(keccak256(noncePublic))));
    }
}
