// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";

/// Fixed users for one document, for ever.
contract PermissioningFireAndForget is ACLStorage {
    error DuplicateUser();

    bytes32 public documentKeyId;
    address[] public addresses;
    mapping(address user => bool) private _isUser;

    constructor(bytes32 id, address[] memory users) {
        documentKeyId = id;
        for (uint256 i = 0; i < users.length; ++i) {
            if (_isUser[users[i]]) revert DuplicateUser();
            _isUser[users[i]] = true;
        }
        addresses = users;
    }

    function checkPermissions(address user, bytes32 document) external view returns (bool) {
        return document == documentKeyId && _isUser[user];
    }
}
