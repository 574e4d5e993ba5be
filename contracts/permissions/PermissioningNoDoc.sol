// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";

/// The same users for every document, for ever.
contract PermissioningNoDoc is ACLStorage {
    error DuplicateUser();

    address[] public addresses;
    mapping(address user => bool) private _isUser;

    constructor(address[] memory users) {
        for (uint256 i = 0; i < users.length; ++i) {
            if (_isUser[users[i]]) revert DuplicateUser();
            _isUser[users[i]] = true;
        }
        addresses = users;
    }

    function checkPermissions(address user, bytes32) external view returns (bool) {
        return _isUser[user];
    }
}
