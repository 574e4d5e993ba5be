// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ACLStorage} from "contracts/interfaces/ACLStorage.sol";

/// Lists of users that anybody may set once per document, for ever. Ids can be squatted.
contract PermissioningDynamic is ACLStorage {
    event Permission(bytes32 docID);

    error AlreadySet();
    error DuplicateUser();

    mapping(bytes32 => address[]) public permissions;
    mapping(bytes32 document => mapping(address user => bool)) private _isUser;

    /// An empty list leaves the document free.
    function addPermission(bytes32 _docID, address[] calldata _users) external {
        if (permissions[_docID].length != 0) revert AlreadySet();
        for (uint256 i = 0; i < _users.length; ++i) {
            if (_isUser[_docID][_users[i]]) revert DuplicateUser();
            _isUser[_docID][_users[i]] = true;
        }
        permissions[_docID] = _users;
        emit Permission(_docID);
    }

    function users(bytes32 document) external view returns (address[] memory) {
        return permissions[document];
    }

    function checkPermissions(address user, bytes32 document) external view returns (bool) {
        return _isUser[document][user];
    }
}
