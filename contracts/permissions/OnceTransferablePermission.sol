// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";

/// One user per key: whoever creates the entry first, or the one it is passed on to, once.
///
/// Meant for tests. Nobody can be kept from creating an entry for an id that is still free.
contract OnceTransferablePermission is ACLStorage {
    error KeyExists();
    error NotKeyOwner();
    error NewOwnerIsZero();
    error AlreadyTransferred();

    struct Entry {
        address user;
        bool transferred;
    }

    mapping(bytes32 serverKeyId => Entry) private _entries;

    function createKey(bytes32 serverKeyId) external {
        if (_entries[serverKeyId].user != address(0)) revert KeyExists();
        _entries[serverKeyId].user = msg.sender;
    }

    function transferPermission(bytes32 serverKeyId, address newOwner) external {
        Entry memory entry = _entries[serverKeyId];
        if (entry.user != msg.sender) revert NotKeyOwner();
        if (newOwner == address(0)) revert NewOwnerIsZero();
        if (entry.transferred) revert AlreadyTransferred();
        _entries[serverKeyId] = Entry(newOwner, true);
    }

    function checkPermissions(address requester, bytes32 serverKeyId) external view returns (bool) {
        return requester != address(0) && _entries[serverKeyId].user == requester;
    }
}
