// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// ECDSA signatures of 65 bytes: r (32), s (32) and v (1).
library EcdsaSignature {
    /// Half the order of the group. Of s and n - s, which sign the same, only the lower one is taken.
    uint256 private constant HIGHEST_S = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// Whether `signer` has signed the hash. Any length and any bytes may be given.
    function isBy(address signer, bytes32 messageHash, bytes calldata signature)
        internal
        pure
        returns (bool)
    {
        if (signature.length != 65) return false;
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > HIGHEST_S || (v != 27 && v != 28)) return false;
        address recovered = ecrecover(messageHash, v, bytes32(signature[:32]), s);
        return recovered != address(0) && recovered == signer;
    }
}
