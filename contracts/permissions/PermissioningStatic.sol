// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";

/// A sample to copy: two users and one document, written into the code.
contract PermissioningStatic is ACLStorage {
    bytes32 private constant DOCUMENT = keccak256("sample document");
    /// The addresses of the private keys 1 and 2, which everybody knows.
    address private constant ALICE = 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf;
    address private constant BOB = 0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF;

    function checkPermissions(address user, bytes32 document) external pure returns (bool) {
        return document == DOCUMENT && (user == ALICE || user == BOB);
    }
}
